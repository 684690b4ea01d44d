/**
 * Reads what the kernel has counted, and tells it as increments: the whole table in batches, now and then.
 *
 * A flow's first counts are held back until the frame that opened it has come through the ring, so that who opened a
 * connection is known before how much it carried.
 *
 * Who deletes: the program where another connection begins, else nobody but this file. A direction that has been silent
 * is taken out together with its last counts; when it speaks again its next packet comes up like a first one. So the
 * table needs room for what is active, not for all connections that are open.
 */
import type { Clock } from '../../../common/clock.ts';
import { FlowCounts, type FrameSink } from '../source.ts';
import { BatchReader, type BpfMap } from './bpf-maps.ts';
import { HOST_IS_LITTLE_ENDIAN } from './constants.ts';
import { copyKey, ENDED_FLOW, FLOW_KEY, FLOW_VALUE, getCount, readEndpoints } from './flow-layout.ts';
import type { Libc } from './libc.ts';
import type { LinkHeaders } from './packet-ring.ts';
import { ToldCounts } from './told-counts.ts';

/**
 * How often the table is read: twice a second, or less often where reading took more than this share of the time. A
 * crowded table is read more often, to make room.
 */
const READ_INTERVAL_NS = 500e6;
const READ_SHARE = 1 / 500;
const CROWDED_READ_SHARE = 1 / 100;
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

interface FlowReaderOptions {
  readonly libc: Libc;
  /** FLOW_KEY to FLOW_VALUE; stays the caller's. */
  readonly flows: BpfMap;
  /** The most entries that the table has. */
  readonly maxEntries: number;
  readonly clock: Clock;
}

export class FlowReader {
  readonly #options: FlowReaderOptions;
  readonly #batches: BatchReader;
  readonly #counts = new FlowCounts();
  readonly #told = new ToldCounts();
  #isReading = false;
  /** When the present and the previous reading began; CLOCK_MONOTONIC. */
  #readAtNs = 0;
  #readBeforeNs = 0;
  #readNextNs = 0;
  /** How long the present reading has taken. */
  #readingNs = 0;
  #entries = 0;
  #isCrowded = false;
  /** What is to be added to the kernel's times for times since the epoch. */
  #epochNs = 0;
  /** Packets told: those that never came up. */
  #kept = 0;

  constructor(options: FlowReaderOptions) {
    this.#options = options;
    this.#batches = new BatchReader(options.libc, options.flows, BATCH_ENTRIES);
  }

  /** Packets told so far. */
  get kept(): number {
    return this.#kept;
  }

  /** Reads a batch when it is time to. `more` is to be called again soon; `begun` is the first batch of a reading. */
  turn(sink: FrameSink, links: LinkHeaders): { readonly more: boolean; readonly begun: boolean } {
    const now = this.#options.libc.monotonicTimeNs();
    if (!this.#isReading && now < this.#readNextNs) return { more: false, begun: false };
    const begun = !this.#isReading;
    if (begun) this.#begin(now);
    this.#readBatch(sink, links, this.#readAtNs - YOUNG_NS);
    this.#readingNs += this.#options.libc.monotonicTimeNs() - now;
    const share = this.#isCrowded ? CROWDED_READ_SHARE : READ_SHARE;
    const intervalNs = Math.max(READ_INTERVAL_NS, this.#readingNs / share);
    this.#readNextNs = this.#readAtNs + Math.min(intervalNs, LONGEST_READ_INTERVAL_NS);
    return { more: this.#isReading, begun };
  }

  /** Tells all that is left; nothing may be counted any more. */
  finish(sink: FrameSink, links: LinkHeaders): void {
    // A reading that is under way has passed by what came since; the next one sees everything.
    while (this.#isReading) this.#readBatch(sink, links, Number.POSITIVE_INFINITY);
    this.#begin(this.#options.libc.monotonicTimeNs());
    while (this.#isReading) this.#readBatch(sink, links, Number.POSITIVE_INFINITY);
  }

  /** Tells the last counts of an ENDED_FLOW. */
  tellEnded(sink: FrameSink, links: LinkHeaders, ended: DataView): void {
    this.#tell(sink, links, ended, ENDED_FLOW.key, ended, ENDED_FLOW.value);
    this.#told.forget(getCount(ended, ENDED_FLOW.value + FLOW_VALUE.id));
  }

  close(): void {
    this.#batches.close();
  }

  #begin(nowNs: number): void {
    this.#isReading = true;
    this.#readingNs = 0;
    this.#readBeforeNs = this.#readAtNs;
    this.#readAtNs = nowNs;
    this.#epochNs = this.#options.clock.now() * 1e6 - nowNs;
    this.#isCrowded = this.#entries > this.#options.maxEntries * CROWDED_SHARE;
    this.#entries = 0;
  }

  /** Tells the next entries of the table, those made after `youngNs` excepted, and takes out the idle ones. */
  #readBatch(sink: FrameSink, links: LinkHeaders, youngNs: number): void {
    const { keys, values } = this.#batches;
    const { count, isEnd } = this.#batches.read();
    // What was silent since well before the last reading was told by it, the youngest of then included.
    const silentSinceNs = this.#readBeforeNs - YOUNG_NS - CLOCK_SLACK_NS;
    for (let index = 0; index < count; index++) {
      const key = index * FLOW_KEY.size;
      const value = index * FLOW_VALUE.size;
      const lastNs = getCount(values, value + FLOW_VALUE.last);
      if (this.#isIdle(values.getUint32(value + FLOW_VALUE.tcpFlags, HOST_IS_LITTLE_ENDIAN), lastNs)) {
        this.#takeOut(sink, links, keys, key);
      } else if (lastNs >= silentSinceNs && getCount(values, value + FLOW_VALUE.first) < youngNs) {
        this.#tell(sink, links, keys, key, values, value);
      }
    }
    this.#entries += count;
    this.#isReading = !isEnd;
    if (count > 0) sink.blockEnd();
  }

  #isIdle(tcpFlags: number, lastNs: number): boolean {
    const isHasty = this.#isCrowded || (tcpFlags & (TCP_FIN | TCP_RST)) !== 0;
    return this.#readAtNs - lastNs > (isHasty ? HASTY_IDLE_NS : IDLE_NS);
  }

  /** Removes an entry and tells what it had at the end. */
  #takeOut(sink: FrameSink, links: LinkHeaders, keys: DataView, key: number): void {
    const { flows } = this.#options;
    copyKey(flows.key, keys, key);
    if (!flows.take()) return;
    this.#tell(sink, links, flows.key, 0, flows.value, 0);
    this.#told.forget(getCount(flows.value, FLOW_VALUE.id));
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
    const told = this.#told;
    const isMore = told.update(
      getCount(values, value + FLOW_VALUE.id),
      packets,
      getCount(values, value + FLOW_VALUE.bytes),
      getCount(values, value + FLOW_VALUE.payloadBytes),
    );
    if (!isMore) return;

    const counts = this.#counts;
    readEndpoints(counts, keys, key);
    counts.interfaceIndex = values.getUint32(value + FLOW_VALUE.interfaceIndex, HOST_IS_LITTLE_ENDIAN);
    counts.tcpFlags = values.getUint32(value + FLOW_VALUE.tcpFlags, HOST_IS_LITTLE_ENDIAN) & 0xff;
    counts.packets = told.packets;
    counts.bytes = told.bytes + counts.packets * (links.get(counts.interfaceIndex) ?? 0);
    counts.payloadBytes = told.payloadBytes;
    const timeNs = getCount(values, value + FLOW_VALUE.last) + this.#epochNs;
    counts.seconds = Math.floor(timeNs / 1e9);
    counts.nanoseconds = Math.floor(timeNs % 1e9);
    this.#kept += counts.packets;
    sink.counts(counts);
  }
}
