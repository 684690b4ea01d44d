/** A flow as the JSON that is printed, sent and stored. */
import { formatAddress, isIpv4 } from '../../common/address.ts';
import type { FlowRecord } from '../../common/event.ts';
import { formatTime } from '../../common/time.ts';
import { communityId } from './community-id.ts';
import type { Flow, FlowSide } from './flow.ts';

/** What is known of a flow beyond its packets. */
export interface FlowContext {
  /** The Ray service at the responder's endpoint; absent where there is none. */
  readonly service?: string | null | undefined;
  /** Name of the network interface, where the source knows it. */
  readonly interfaceName?: string | undefined;
}

/** The longest interface name that the record's schema takes; a pcapng file may claim any. */
const MAX_INTERFACE_NAME = 256;

/** The interface as the record has it, cut to what its schema takes. */
export function recordInterface({ interfaceName }: FlowContext): string | undefined {
  return interfaceName?.slice(0, MAX_INTERFACE_NAME);
}

/** The tunnel as the record has it. */
export function recordTunnel({ tunnel }: Flow<unknown>): FlowRecord['plasmawatch']['tunnel'] {
  if (tunnel === undefined) return undefined;
  return {
    type: tunnel.type,
    source: formatAddress(tunnel.source),
    destination: formatAddress(tunnel.destination),
    ...(tunnel.id === undefined ? {} : { id: tunnel.id }),
  };
}

/** The record of a flow as it stands. */
export function flowRecord(flow: Flow<unknown>, context: FlowContext): FlowRecord {
  const interfaceName = recordInterface(context);
  const { initiator, responder } = flow;
  const tunnel = recordTunnel(flow);
  return {
    type: 'flow',
    event: {
      start: formatTime(flow.firstSeconds, flow.firstNanoseconds),
      end: formatTime(flow.lastSeconds, flow.lastNanoseconds),
    },
    source: endpoint(initiator),
    destination: endpoint(responder),
    network: {
      transport: 'tcp',
      type: isIpv4(initiator) && isIpv4(responder) ? 'ipv4' : 'ipv6',
      community_id: communityId(initiator, responder),
    },
    plasmawatch: {
      state: flow.state,
      service: context.service ?? null,
      payload: { source: initiator.payloadBytes, destination: responder.payloadBytes },
      stream: { source: initiator.streamBytes, destination: responder.streamBytes },
      ...(interfaceName === undefined ? {} : { interface: interfaceName }),
      ...(tunnel === undefined ? {} : { tunnel }),
    },
  };
}

function endpoint(side: FlowSide): FlowRecord['source'] {
  return { ip: formatAddress(side), port: side.port, packets: side.packets, bytes: side.bytes };
}
