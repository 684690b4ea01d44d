/**
 * The kernel stamps packets with the wall clock, which can be set at any time; all else in the agent is measured with the
 * monotonic one. Between the source and the pipeline, stamps are translated, so that a flow does not end, and a member
 * is not too late, because somebody set the clock.
 */
import type { Clock } from '../../common/clock.ts';
import type { FlowCounts, Frame, FrameSink } from './source.ts';

/** Clocks that are no further apart count as the same: stamps stay as they are. */
const TOLERANCE_MS = 100;
/** After the clocks came apart, packets may still come that were stamped before. */
const UNCERTAIN_MS = 10_000;
/** A stamp may be so much later than the reading of the clock that it is compared with. */
const SLACK_MS = 1000;

/** The wall clock minus the monotonic one, in whole milliseconds; 0 as long as neither was disturbed. */
export function wallAheadMs(clock: Pick<Clock, 'now' | 'monotonic'>): number {
  const aheadMs = Math.round(clock.now() - clock.monotonic());
  return Math.abs(aheadMs) < TOLERANCE_MS ? 0 : aheadMs;
}

/** Hands on what a live source delivers, stamped by the monotonic clock. */
export class PacketTime implements FrameSink {
  readonly #sink: FrameSink;
  readonly #clock: Pick<Clock, 'now' | 'monotonic'>;
  /** The wall clock minus the monotonic one, at the last reading. */
  #aheadMs = 0;
  /** What stamps are set back by. */
  #shiftMs = 0;
  /** What they were set back by before the clocks came apart, until it is certain that none of then are to come. */
  #shiftBeforeMs: number | undefined;
  #changedAtMs = -Infinity;
  /** Whether a packet that came later has shown which of both holds. */
  #isShown = false;
  /** When the present block of packets came, and the one before. */
  #blockMs = -Infinity;
  #blockBeforeMs = -Infinity;
  #isNewBlock = true;

  constructor(sink: FrameSink, clock: Pick<Clock, 'now' | 'monotonic'>) {
    this.#sink = sink;
    this.#clock = clock;
  }

  frame(frame: Frame): void {
    this.#translate(frame);
    this.#sink.frame(frame);
  }

  counts(counts: FlowCounts): void {
    this.#translate(counts);
    this.#sink.counts(counts);
  }

  blockEnd(): void {
    this.#isNewBlock = true;
    this.#sink.blockEnd();
  }

  #translate(stamped: Frame | FlowCounts): void {
    if (this.#isNewBlock) this.#readClocks();
    if (this.#shiftBeforeMs !== undefined)
      setBackBy(stamped, this.#decideShift(stamped, this.#shiftBeforeMs));
    else if (this.#shiftMs !== 0) setBackBy(stamped, this.#shiftMs);
  }

  /** Once in a block: what it holds was stamped before. */
  #readClocks(): void {
    this.#isNewBlock = false;
    this.#blockBeforeMs = this.#blockMs;
    this.#blockMs = this.#clock.monotonic();
    const aheadMs = wallAheadMs(this.#clock);
    if (Math.abs(aheadMs - this.#aheadMs) >= TOLERANCE_MS) {
      this.#aheadMs = aheadMs;
      this.#shiftBeforeMs = this.#shiftMs;
      this.#shiftMs = aheadMs;
      this.#changedAtMs = this.#blockMs;
      this.#isShown = false;
    } else if (this.#isShown && this.#blockMs - this.#changedAtMs >= UNCERTAIN_MS) {
      this.#shiftBeforeMs = undefined;
    }
  }

  /**
   * What a stamp is set back by that may be of before or after the clock was set. Of the two times that it may mean it is the
   * later one that is not to come; and a packet that comes now is no older than the block before.
   */
  #decideShift({ seconds, nanoseconds }: Frame | FlowCounts, beforeMs: number): number {
    const stampMs = seconds * 1000 + nanoseconds / 1e6;
    const latestMs = this.#blockMs + SLACK_MS;
    const isOfBefore =
      stampMs - beforeMs <= latestMs && (beforeMs < this.#shiftMs || stampMs - this.#shiftMs > latestMs);
    const shiftMs = isOfBefore ? beforeMs : this.#shiftMs;
    const timeMs = stampMs - shiftMs;
    if (timeMs > latestMs) return Math.round(stampMs - this.#blockMs);
    this.#isShown ||= this.#blockMs > this.#changedAtMs;
    // The stamps' clock may not be the one that was set, as in a sandbox: they show which one it is in the end.
    if (this.#blockMs > this.#changedAtMs && isOfBefore && timeMs >= this.#changedAtMs) {
      this.#shiftBeforeMs = this.#shiftMs;
      this.#shiftMs = beforeMs;
    }
    return timeMs < this.#blockBeforeMs ? Math.round(stampMs - this.#blockBeforeMs) : shiftMs;
  }
}

function setBackBy(stamped: Frame | FlowCounts, milliseconds: number): void {
  const seconds = Math.floor(milliseconds / 1000);
  stamped.seconds -= seconds;
  stamped.nanoseconds -= (milliseconds - seconds * 1000) * 1e6;
  if (stamped.nanoseconds >= 0) return;
  stamped.seconds--;
  stamped.nanoseconds += 1e9;
}
