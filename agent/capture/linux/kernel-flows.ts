/**
 * Live capture with the flow table in the kernel: the ring of packet-ring.ts behind the program of flow-program.ts.
 * This file makes the maps, gives the program to the socket, and joins those who read what it counted.
 */
import type { Clock } from '../../../common/clock.ts';
import { messageOf, PlasmawatchError, systemCodeOf } from '../../../common/errors.ts';
import type { Logger } from '../../../common/log.ts';
import { type FlowEndpoints, type Frame, type FrameSink, type PacketSource, PortSet } from '../source.ts';
import { BpfMap, loadSocketFilter, type MapShape } from './bpf-maps.ts';
import * as linux from './constants.ts';
import { ENDED_MAP, EndedFlows } from './ended-flows.ts';
import { FLOW_CONTROL, FLOW_KEY, FLOW_STATISTICS, FLOW_VALUE, getCount } from './flow-layout.ts';
import { buildFlowProgram, COUNTED_SNAPLEN_BYTES } from './flow-program.ts';
import { FlowReader } from './flow-reader.ts';
import { type Libc, loadLibc } from './libc.ts';
import { type LinkHeaders, openRing, type RingFilter } from './packet-ring.ts';
import { WANTED_MAP, WantedFlows } from './wanted-flows.ts';

/**
 * Directions of flows that the table holds, about 160 bytes of kernel memory each, for each interface that shows them: 65,536
 * connections active at once on one.
 */
const MAX_DIRECTIONS = 131_072;
const PORTS = 65_536;
/** 16 MiB of ring: a quarter of a second of a flood of SYNs. Other packets that come up are few. */
const BLOCK_COUNT = 64;
export interface KernelFlowsOptions {
  /** One interface by name; all interfaces without. */
  readonly interface?: string | undefined;
  readonly ports: PortSet;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Bound of the table in the kernel, in directions: two for each connection. */
  readonly maxDirections?: number;
  /** One in so many of the packets that stay in the kernel comes up instead. 0: none. */
  readonly sampleEvery?: number;
  /** That of the `Packet` which is filled with what comes up; 0 when left out. */
  readonly tunnelSeed?: number;
}

/**
 * Opens the capture. Packets count from here on, `run` delivers them.
 *
 * Fails as `openPacketRing` does, and where the kernel refuses to count: the message names CAP_BPF when that is missing.
 * Needs Linux 5.14.
 */
export async function openKernelFlows(options: KernelFlowsOptions): Promise<PacketSource> {
  const libc = await loadLibc();
  return openRing(libc, { ...options, blockCount: BLOCK_COUNT }, (socket, device) =>
    createFilter(libc, socket, device, options),
  );
}

function createFilter(libc: Libc, socket: number, device: string, options: KernelFlowsOptions): FlowFilter {
  try {
    return new FlowFilter(libc, socket, device, options);
  } catch (error) {
    throw explain(error);
  }
}

/** The program, its maps, and who reads them. */
class FlowFilter implements RingFilter {
  readonly name = 'kernel';
  readonly countedSnaplenBytes = COUNTED_SNAPLEN_BYTES;
  readonly #open: { close(): void }[] = [];
  readonly #ports: BpfMap;
  readonly #control: BpfMap;
  readonly #statistics: BpfMap;
  readonly #reader: FlowReader;
  readonly #ended: EndedFlows;
  readonly #wanted: WantedFlows;
  #watched = new PortSet();
  #isAttached = false;
  #overflowed = 0;

  constructor(libc: Libc, socket: number, device: string, options: KernelFlowsOptions) {
    try {
      const map = (shape: MapShape): BpfMap => this.#own(new BpfMap(libc, shape));
      const maxEntries = options.maxDirections ?? MAX_DIRECTIONS;
      const flows = map(hashOf(FLOW_KEY.size, FLOW_VALUE.size, maxEntries));
      const ended = map(ENDED_MAP);
      const wanted = map(WANTED_MAP);
      this.#ports = map(arrayOf(4, PORTS));
      this.#control = map(arrayOf(FLOW_CONTROL.size, 1));
      this.#statistics = map(arrayOf(FLOW_STATISTICS.size, 1));
      this.#ended = new EndedFlows(ended);
      this.#wanted = new WantedFlows(wanted);
      const { clock } = options;
      this.#reader = this.#own(new FlowReader({ libc, flows, maxEntries, clock }));
      this.#tellProgram('sampleEvery', options.sampleEvery ?? 0);
      this.#tellProgram('firstPackets', 1);
      this.setPorts(options.ports);
      const fds = {
        flows: flows.fd,
        ended: ended.fd,
        wanted: wanted.fd,
        ports: this.#ports.fd,
        control: this.#control.fd,
        statistics: this.#statistics.fd,
      };
      attach(libc, socket, buildFlowProgram(fds, options.tunnelSeed ?? 0), device);
      this.#isAttached = true;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** The program stays where it is. Packets of the moment see some ports of the old set and some of the new one. */
  setPorts(ports: PortSet): void {
    const { key, value } = this.#ports;
    for (let port = 0; port < PORTS; port++) {
      if (ports.has(port) === this.#watched.has(port)) continue;
      key.setUint32(0, port, linux.HOST_IS_LITTLE_ENDIAN);
      value.setUint32(0, ports.has(port) ? 1 : 0, linux.HOST_IS_LITTLE_ENDIAN);
      this.#ports.update();
    }
    // A copy: the caller may go on changing the set.
    this.#watched = new PortSet(portsOf(ports));
  }

  wantPackets(flow: FlowEndpoints, packets: number): void {
    if (!this.#isAttached) return;
    this.#wanted.want(flow, packets);
    this.#tellProgram('wantedCount', this.#wanted.size);
  }

  wantFirstPackets(packets: number): void {
    if (this.#isAttached) this.#tellProgram('firstPackets', Math.max(packets, 1));
  }

  beforeBlock(): void {
    this.#ended.read();
  }

  beforeFrame(frame: Frame, sink: FrameSink, links: LinkHeaders): void {
    if (!this.#ended.isWaiting) return;
    this.#ended.tellBefore(frame, (ended) => this.#reader.tellEnded(sink, links, ended));
  }

  turn(sink: FrameSink, links: LinkHeaders): boolean {
    const { more, begun } = this.#reader.turn(sink, links);
    if (begun) {
      this.#ended.tellOverdue((ended) => this.#reader.tellEnded(sink, links, ended));
      this.#sweepWanted();
    }
    return more;
  }

  finish(sink: FrameSink, links: LinkHeaders): void {
    this.#ended.read();
    this.#ended.tellAll((ended) => this.#reader.tellEnded(sink, links, ended));
    this.#reader.finish(sink, links);
  }

  counters(): { kept: number; overflowed: number } {
    if (this.#isAttached && this.#statistics.lookUp()) {
      this.#overflowed = getCount(this.#statistics.value, FLOW_STATISTICS.overflowed);
    }
    return { kept: this.#reader.kept, overflowed: this.#overflowed };
  }

  close(): void {
    // The last of it; a filter that never came about has nothing to say.
    if (this.#isAttached) this.counters();
    this.#isAttached = false;
    for (const resource of this.#open.splice(0)) resource.close();
  }

  #sweepWanted(): void {
    if (this.#wanted.size === 0) return;
    this.#wanted.sweep();
    this.#tellProgram('wantedCount', this.#wanted.size);
  }

  #tellProgram(what: 'sampleEvery' | 'wantedCount' | 'firstPackets', number: number): void {
    this.#control.value.setUint32(FLOW_CONTROL[what], number, linux.HOST_IS_LITTLE_ENDIAN);
    this.#control.update();
  }

  #own<Resource extends { close(): void }>(resource: Resource): Resource {
    this.#open.push(resource);
    return resource;
  }
}

function hashOf(keySize: number, valueSize: number, maxEntries: number): MapShape {
  return { type: linux.BPF_MAP_TYPE_HASH, keySize, valueSize, maxEntries };
}

function arrayOf(valueSize: number, maxEntries: number): MapShape {
  return { type: linux.BPF_MAP_TYPE_ARRAY, keySize: 4, valueSize, maxEntries };
}

function* portsOf(ports: PortSet): Iterable<number> {
  for (const { first, last } of ports.ranges()) for (let port = first; port <= last; port++) yield port;
}

/** Loads the program and gives it to the socket, which holds it from then on. */
function attach(libc: Libc, socket: number, program: Uint8Array, device: string): void {
  const fd = loadSocketFilter(libc, program);
  try {
    const value = new Uint8Array(4);
    new DataView(value.buffer).setInt32(0, fd, linux.HOST_IS_LITTLE_ENDIAN);
    libc.setSocketOption(socket, linux.SOL_SOCKET, linux.SO_ATTACH_BPF, value, 'attach program', device);
  } finally {
    libc.close(fd);
  }
}

/** Says what is missing where the kernel said no. */
function explain(error: unknown): unknown {
  if (!(error instanceof PlasmawatchError) || systemCodeOf(error.cause) !== 'EPERM') return error;
  return new PlasmawatchError(error.code, `counting in the kernel needs CAP_BPF (${messageOf(error)})`, {
    operation: 'bpf',
    subject: 'flow table',
    cause: error.cause,
  });
}
