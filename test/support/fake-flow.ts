/** Connections without packets, for detectors: what moved is what the test says. */
import type { Flow } from '../../agent/flow/flow.ts';
import { formatAddress, isIpv4, parseAddress, type Address } from '../../common/address.ts';
import type { FlowRecord, FlowState } from '../../common/event.ts';
import { formatTime } from '../../common/time.ts';

interface Side extends Address {
  readonly port: number;
  packets: number;
  bytes: number;
  payloadBytes: number;
  streamBytes: number;
}

/** The part of a flow that detectors look at. */
export class FakeFlow {
  tag: undefined;
  readonly tunnel = undefined;
  readonly interfaceIndex = 0;
  readonly initiator: Side;
  readonly responder: Side;
  readonly firstSeconds: number;
  readonly firstNanoseconds = 0;
  readonly lastNanoseconds = 0;
  lastSeconds: number;
  state: FlowState = 'established';

  /** @param from such as `10.0.0.9:5000`; IPv6 as `[fd00::9]:5000` */
  constructor(from: string, to: string, seconds: number) {
    this.initiator = side(from);
    this.responder = side(to);
    this.firstSeconds = seconds;
    this.lastSeconds = seconds;
    this.move(60, seconds);
  }

  /** The initiator sends these bytes in one packet. */
  move(bytes: number, seconds = this.lastSeconds): void {
    this.initiator.bytes += bytes;
    this.initiator.packets++;
    this.lastSeconds = seconds;
  }

  keep(): this {
    return this;
  }

  /** Itself, as detectors take it. */
  get flow(): Flow<undefined> {
    return this as unknown as Flow<undefined>;
  }
}

/** What a pipeline would report of a fake flow. */
export function describeFake(flow: Flow<undefined>, service: string): FlowRecord {
  const { initiator, responder, firstSeconds, lastSeconds, state } = flow;
  return {
    type: 'flow',
    event: { start: formatTime(firstSeconds, 0), end: formatTime(lastSeconds, 0) },
    source: endpoint(initiator),
    destination: endpoint(responder),
    network: { transport: 'tcp', type: isIpv4(initiator) ? 'ipv4' : 'ipv6', community_id: '1:fake' },
    plasmawatch: {
      state,
      service,
      payload: { source: 0, destination: 0 },
      stream: { source: 0, destination: 0 },
    },
  };
}

function endpoint(end: Address & { port: number; packets: number; bytes: number }): FlowRecord['source'] {
  return { ip: formatAddress(end), port: end.port, packets: end.packets, bytes: end.bytes };
}

function side(text: string): Side {
  const [, ip = '', port] = /^\[?(.*?)\]?:(\d+)$/.exec(text) ?? [];
  const address = parseAddress(ip);
  if (address === undefined) throw new Error(`no address: ${text}`);
  return { ...address, port: Number(port), packets: 0, bytes: 0, payloadBytes: 0, streamBytes: 0 };
}

/** The nth of many addresses, with a port. */
export function manyPeers(index: number, prefix = 172): string {
  return `${prefix}.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}:5000`;
}
