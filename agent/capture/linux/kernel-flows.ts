/**
 * Live capture with the flow table in the kernel: the ring of packet-ring.ts behind the program of flow-program.ts.
 *
 * What the kernel counted is read from its table in batches, and told as increments. A flow's first counts are held
 * back until the frame that opened it has come through the ring, so that who opened a connection is known before how
 * much it carried.
 *
 * Who deletes: nobody but this file. A direction that has been silent is taken out together with its last counts; when
 * it speaks again its next packet comes up like a first one. So the table needs room for what is active, not for all
 * connections that are open.
 */
import type { Clock } from '../../../common/clock.ts';
import { messageOf, PlasmawatchError, systemCodeOf } from '../../../common/errors.ts';
import type { Logger } from '../../../common/log.ts';
import { type FlowEndpoints, FlowCounts, type FrameSink, type PacketSource, PortSet } from '../source.ts';
import { BatchReader, BpfMap, loadSocketFilter } from './bpf-maps.ts';
import * as linux from './constants.ts';
import {
  copyKey,
  FLOW_CONTROL,
  FLOW_KEY,
  FLOW_STATISTICS,
  FLOW_VALUE,
  getCount,
  readEndpoints,
} from './flow-layout.ts';
import { buildFlowProgram, COUNTED_SNAPLEN_BYTES } from './flow-program.ts';
import { type Libc, loadLibc } from './libc.ts';
import { type LinkHeaders, openRing, type RingFilter } from './packet-ring.ts';
import { WANTED_MAP, WantedFlows } from './wanted-flows.ts';

/** Directions of flows that the table holds, about 150 bytes of kernel memory each: 65,536 connections active at once. */
const MAX_DIRECTIONS = 131_072;
const PORTS = 65_536;
/** How often the table is read: twice a second, or less often where reading took more than 1/100 of the time. */
const READ_INTERVAL_NS = 500e6;
const READ_SHARE = 0.01;
const LONGEST_READ_INTERVAL_NS = 5e9;
/** Entries read in one turn, some ms of work. */
const BATCH_ENTRIES = 4096;
/** Time for the frame that opened a flow to come through the ring, several times the ring's own timeout. */
const YOUNG_NS = 250e6;
/** The kernel's coarse clock and its adding up may be so late. */
const CLOCK_SLACK_NS = 20e6;
/** A direction is taken out after so much silence: an ordinary one, and one that is over or in the way of others. */
const IDLE_NS = 60e9;
const HASTY_IDLE_NS = 2e9;
/** From here on the table counts as crowded. */
const CROWDED_SHARE = 0.75;

const TCP_FIN = 0x01;
const TCP_RST = 0x04;

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
}

/**
 * Opens the capture. Packets count from here on, `run` delivers them.
 *
 * Fails as `openPacketRing` does, and where the kernel refuses to count: the message names CAP_BPF when that is missing.
 * Needs Linux 5.14.
 */
export async function openKernelFlows(options: KernelFlowsOptions): Promise<PacketSource> {
  const libc = await loadLibc();
  return openRing(libc, options, (socket, device) => createFilter(libc, socket, device, options));
}

function createFilter(libc: Libc, socket: number, device: string, options: KernelFlowsOptions): FlowFilter {
  try {
    return new FlowFilter(libc, socket, device, options);
  } catch (error) {
    throw explain(error);
  }
}

/** The flow table and the program that fills it. */
class FlowFilter implements RingFilter {
  readonly name = 'kernel';
  readonly countedSnaplenBytes = COUNTED_SNAPLEN_BYTES;
  readonly #libc: Libc;
  readonly #clock: Clock;
  readonly #maxDirections: number;
  readonly #open: { close(): void }[] = [];
  readonly #flows: BpfMap;
  readonly #ports: BpfMap;
  readonly #wanted: WantedFlows;
  readonly #control: BpfMap;
  readonly #statistics: BpfMap;
  readonly #batches: BatchReader;
  readonly #counts = new FlowCounts();
  /** What was told of each entry, by its id. */
  readonly #told = new Map<number, Told>();
  #watched = new PortSet();
  #isAttached = false;
  #isReading = false;
  /** When the present and the previous reading began; CLOCK_MONOTONIC. */
  #readAtNs = 0;
  #readBeforeNs = 0;
  #readNextNs = 0;
  /** How long the present reading has taken. */
  #readingNs = 0;
  /** What is to be added to the kernel's times for times since the epoch. */
  #epochNs = 0;
  #directions = 0;
  #directionsBefore = 0;
  /** Packets told: those that never came up. */
  #kept = 0;
  #overflowed = 0;

  constructor(libc: Libc, socket: number, device: string, options: KernelFlowsOptions) {
    this.#libc = libc;
    this.#clock = options.clock;
    this.#maxDirections = options.maxDirections ?? MAX_DIRECTIONS;
    try {
      const map = (type: number, keySize: number, valueSize: number, maxEntries: number): BpfMap =>
        this.#own(new BpfMap(libc, { type, keySize, valueSize, maxEntries }));
      const wantedMap = this.#own(new BpfMap(libc, WANTED_MAP));
      this.#wanted = new WantedFlows(wantedMap);
      const { BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH } = linux;
      this.#flows = map(BPF_MAP_TYPE_HASH, FLOW_KEY.size, FLOW_VALUE.size, this.#maxDirections);
      this.#ports = map(BPF_MAP_TYPE_ARRAY, 4, 4, PORTS);
      this.#statistics = map(BPF_MAP_TYPE_ARRAY, 4, FLOW_STATISTICS.size, 1);
      this.#batches = this.#own(new BatchReader(libc, this.#flows, BATCH_ENTRIES));
      this.#control = map(BPF_MAP_TYPE_ARRAY, 4, FLOW_CONTROL.size, 1);
      this.#tellProgram('sampleEvery', options.sampleEvery ?? 0);
      this.#tellProgram('firstPackets', 1);
      this.setPorts(options.ports);
      const program = buildFlowProgram({
        flows: this.#flows.fd,
        ports: this.#ports.fd,
        wanted: wantedMap.fd,
        control: this.#control.fd,
        statistics: this.#statistics.fd,
      });
      attach(libc, socket, program, device);
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

  turn(sink: FrameSink, links: LinkHeaders): boolean {
    if (!this.#isReading) {
      const now = this.#libc.monotonicTimeNs();
      if (now < this.#readNextNs) return false;
      this.#beginReading(now);
    }
    const beginNs = this.#libc.monotonicTimeNs();
    this.#readBatch(sink, links, this.#readAtNs - YOUNG_NS);
    this.#readingNs += this.#libc.monotonicTimeNs() - beginNs;
    const intervalNs = Math.max(READ_INTERVAL_NS, this.#readingNs / READ_SHARE);
    this.#readNextNs = this.#readAtNs + Math.min(intervalNs, LONGEST_READ_INTERVAL_NS);
    return this.#isReading;
  }

  finish(sink: FrameSink, links: LinkHeaders): void {
    // A reading that is under way has passed by what came since; the next one sees everything.
    while (this.#isReading) this.#readBatch(sink, links, Number.POSITIVE_INFINITY);
    this.#beginReading(this.#libc.monotonicTimeNs());
    while (this.#isReading) this.#readBatch(sink, links, Number.POSITIVE_INFINITY);
  }

  counters(): { kept: number; overflowed: number } {
    if (this.#isAttached && this.#statistics.lookUp()) {
      this.#overflowed = getCount(this.#statistics.value, FLOW_STATISTICS.overflowed);
    }
    return { kept: this.#kept, overflowed: this.#overflowed };
  }

  close(): void {
    // The last of it; a filter that never came about has nothing to say.
    if (this.#isAttached) this.counters();
    this.#isAttached = false;
    for (const resource of this.#open.splice(0)) resource.close();
  }

  #tellProgram(what: 'sampleEvery' | 'wantedCount' | 'firstPackets', number: number): void {
    this.#control.value.setUint32(FLOW_CONTROL[what], number, linux.HOST_IS_LITTLE_ENDIAN);
    this.#control.update();
  }

  #own<Resource extends { close(): void }>(resource: Resource): Resource {
    this.#open.push(resource);
    return resource;
  }

  #beginReading(nowNs: number): void {
    this.#isReading = true;
    this.#readingNs = 0;
    this.#readBeforeNs = this.#readAtNs;
    this.#readAtNs = nowNs;
    this.#epochNs = this.#clock.now() * 1e6 - nowNs;
    this.#directionsBefore = this.#directions;
    this.#directions = 0;
    if (this.#wanted.size === 0) return;
    this.#wanted.sweep();
    this.#tellProgram('wantedCount', this.#wanted.size);
  }

  /** Tells the next entries of the table, those made after `youngNs` excepted, and takes out the idle ones. */
  #readBatch(sink: FrameSink, links: LinkHeaders, youngNs: number): void {
    const { keys, values } = this.#batches;
    const { count, isEnd } = this.#batches.read();
    const isCrowded = this.#directionsBefore > this.#maxDirections * CROWDED_SHARE;
    // What was silent since well before the last reading was told by it, the youngest of then included.
    const silentSinceNs = this.#readBeforeNs - YOUNG_NS - CLOCK_SLACK_NS;
    for (let index = 0; index < count; index++) {
      const key = index * FLOW_KEY.size;
      const value = index * FLOW_VALUE.size;
      const lastNs = getCount(values, value + FLOW_VALUE.last);
      if (
        this.#isIdle(
          values.getUint32(value + FLOW_VALUE.tcpFlags, linux.HOST_IS_LITTLE_ENDIAN),
          lastNs,
          isCrowded,
        )
      ) {
        this.#takeOut(sink, links, keys, key);
      } else if (lastNs >= silentSinceNs && getCount(values, value + FLOW_VALUE.first) < youngNs) {
        this.#tell(sink, links, keys, key, values, value);
      }
    }
    this.#directions += count;
    this.#isReading = !isEnd;
    if (count > 0) sink.blockEnd();
  }

  #isIdle(tcpFlags: number, lastNs: number, isCrowded: boolean): boolean {
    const isHasty = isCrowded || (tcpFlags & (TCP_FIN | TCP_RST)) !== 0;
    return this.#readAtNs - lastNs > (isHasty ? HASTY_IDLE_NS : IDLE_NS);
  }

  /** Removes an entry and tells what it had at the end. */
  #takeOut(sink: FrameSink, links: LinkHeaders, keys: DataView, key: number): void {
    const { key: takenKey, value } = this.#flows;
    copyKey(takenKey, keys, key);
    this.#wanted.forget(keys, key);
    if (!this.#flows.take()) return;
    this.#tell(sink, links, takenKey, 0, value, 0);
    this.#told.delete(getCount(value, FLOW_VALUE.id));
  }

  /** Tells what an entry has more than at the last time. */
  #tell(
    sink: FrameSink,
    links: LinkHeaders,
    keys: DataView,
    key: number,
    values: DataView,
    value: number,
  ): void {
    const packets = getCount(values, value + FLOW_VALUE.packets);
    if (packets === 0) return;
    const id = getCount(values, value + FLOW_VALUE.id);
    let told = this.#told.get(id);
    if (told === undefined) {
      told = new Told();
      this.#told.set(id, told);
    }
    // The processors add to the numbers one after the other: packets may be ahead of bytes for a moment.
    const bytes = getCount(values, value + FLOW_VALUE.bytes);
    const payloadBytes = getCount(values, value + FLOW_VALUE.payloadBytes);
    if (packets === told.packets && bytes === told.bytes && payloadBytes === told.payloadBytes) return;

    const counts = this.#counts;
    readEndpoints(counts, keys, key);
    counts.interfaceIndex = values.getUint32(value + FLOW_VALUE.interfaceIndex, linux.HOST_IS_LITTLE_ENDIAN);
    counts.tcpFlags = values.getUint32(value + FLOW_VALUE.tcpFlags, linux.HOST_IS_LITTLE_ENDIAN) & 0xff;
    counts.packets = packets - told.packets;
    counts.bytes = bytes - told.bytes + counts.packets * (links.get(counts.interfaceIndex) ?? 0);
    counts.payloadBytes = payloadBytes - told.payloadBytes;
    const timeNs = getCount(values, value + FLOW_VALUE.last) + this.#epochNs;
    counts.seconds = Math.floor(timeNs / 1e9);
    counts.nanoseconds = Math.floor(timeNs % 1e9);
    told.packets = packets;
    told.bytes = bytes;
    told.payloadBytes = payloadBytes;
    this.#kept += counts.packets;
    sink.counts(counts);
  }
}

function* portsOf(ports: PortSet): Iterable<number> {
  for (const { first, last } of ports.ranges()) for (let port = first; port <= last; port++) yield port;
}

class Told {
  packets = 0;
  bytes = 0;
  payloadBytes = 0;
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
