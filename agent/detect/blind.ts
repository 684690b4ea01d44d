/**
 * "This node is partly blind": packets were lost before they could be judged. One state with hysteresis, never a
 * message for each loss: it begins when an interval lost more than one packet in a hundred, or the capture stands
 * still, and ends after three intervals with less than one in a thousand.
 */
import type { Anomaly } from '../../common/event.ts';
import { formatMilliseconds } from '../../common/time.ts';

const BEGIN_RATIO = 0.01;
const END_RATIO = 0.001;
const CALM_INTERVALS_TO_END = 3;
/** While it lasts, it is reported again this often. */
const REPORT_INTERVAL_MS = 60_000;

/** Totals since the start of the agent. */
export interface LossTotals {
  /** Packets that passed the filter, lost ones included. */
  readonly received: number;
  /** Packets lost in the kernel, plus those that could not be decoded, plus flows evicted while open. */
  readonly lost: number;
  /** Whether the capture runs. */
  readonly isCapturing: boolean;
}

interface BlindDetectorOptions {
  readonly node: string;
  readonly report: (anomaly: Anomaly) => void;
  readonly createId: () => string;
}

interface Episode {
  readonly id: string;
  readonly sinceMs: number;
  readonly lostBefore: number;
  calmIntervals: number;
  reportedAtMs: number;
}

export class BlindDetector {
  readonly #options: BlindDetectorOptions;
  #before: LossTotals = { received: 0, lost: 0, isCapturing: true };
  #episode: Episode | undefined;

  constructor(options: BlindDetectorOptions) {
    this.#options = options;
  }

  /** Whether the node counts as partly blind now. */
  get isBlind(): boolean {
    return this.#episode !== undefined;
  }

  /** Takes the totals at the end of an interval. */
  observe(totals: LossTotals, nowMs: number): void {
    const lost = totals.lost - this.#before.lost;
    const received = totals.received - this.#before.received;
    const ratio = totals.isCapturing ? lost / Math.max(received, lost, 1) : 1;
    const lostBefore = this.#before.lost;
    this.#before = totals;
    if (this.#episode === undefined) {
      if (ratio <= BEGIN_RATIO) return;
      this.#episode = {
        id: this.#options.createId(),
        sinceMs: nowMs,
        lostBefore,
        calmIntervals: 0,
        reportedAtMs: nowMs,
      };
      this.#report(this.#episode, totals, nowMs);
      return;
    }
    this.#continue(this.#episode, ratio, totals, nowMs);
  }

  #continue(episode: Episode, ratio: number, totals: LossTotals, nowMs: number): void {
    episode.calmIntervals = ratio < END_RATIO ? episode.calmIntervals + 1 : 0;
    if (episode.calmIntervals >= CALM_INTERVALS_TO_END) {
      this.#episode = undefined;
      return;
    }
    if (nowMs - episode.reportedAtMs < REPORT_INTERVAL_MS) return;
    episode.reportedAtMs = nowMs;
    this.#report(episode, totals, nowMs);
  }

  #report(episode: Episode, totals: LossTotals, nowMs: number): void {
    const lost = totals.lost - episode.lostBefore;
    const what = totals.isCapturing
      ? `${lost} packets were lost before they could be judged`
      : 'the capture stands still';
    this.#options.report({
      type: 'anomaly',
      id: episode.id,
      kind: 'blind',
      severity: 'warning',
      node: this.#options.node,
      verdict: null,
      flow: null,
      count: lost,
      bytes: 0,
      first: formatMilliseconds(episode.sinceMs),
      last: formatMilliseconds(nowMs),
      message: `Node ${this.#options.node} is partly blind: ${what}`,
    });
  }
}
