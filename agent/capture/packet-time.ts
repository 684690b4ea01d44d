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
  #aheadMs = 0;
  /** What it was before, while packets of then may still come. */
  #aheadBeforeMs: number | undefined;
  #changedAtMs = -Infinity;
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
    if (this.#aheadBeforeMs !== undefined) setBackBy(stamped, this.#uncertainAheadMs(stamped));
    else if (this.#aheadMs !== 0) setBackBy(stamped, this.#aheadMs);
  }

  /** Once in a block: what it holds was stamped before. */
  #readClocks(): void {
    this.#isNewBlock = false;
    this.#blockBeforeMs = this.#blockMs;
    this.#blockMs = this.#clock.monotonic();
    const aheadMs = wallAheadMs(this.#clock);
    if (Math.abs(aheadMs - this.#aheadMs) >= TOLERANCE_MS) {
      this.#aheadBeforeMs = this.#aheadMs;
      this.#aheadMs = aheadMs;
      this.#changedAtMs = this.#blockMs;
    } else if (this.#blockMs - this.#changedAtMs >= UNCERTAIN_MS) this.#aheadBeforeMs = undefined;
  }

  /**
   * Where the stamp may be of before or after the clock was set: by which of both it is the later one that is not to come.
   * A packet that comes now is no older than the block before.
   */
  #uncertainAheadMs({ seconds, nanoseconds }: Frame | FlowCounts): number {
    const stampMs = seconds * 1000 + nanoseconds / 1e6;
    const times = [stampMs - this.#aheadMs, stampMs - (this.#aheadBeforeMs ?? this.#aheadMs)];
    const possible = times.filter((time) => time <= this.#blockMs + SLACK_MS);
    const time = Math.max(...possible, Math.min(this.#blockBeforeMs, this.#blockMs));
    return Math.round(stampMs - (Number.isFinite(time) ? time : this.#blockMs));
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
