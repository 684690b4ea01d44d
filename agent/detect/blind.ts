/**
 * "This node is partly blind": packets were lost before they could be judged. One state with hysteresis, never a
 * message for each loss: it begins when an interval lost more than one packet in a hundred, when the capture stands
 * still, or when it runs and does not show a connection that the raylet has. It ends after three intervals with less
 * than one in a thousand; for a capture that showed nothing, only once packets come again.
 */
import { anomalyWithoutFlow } from '../../common/event.ts';
import { formatMilliseconds } from '../../common/time.ts';
import type { Reporting } from './reporting.ts';

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
  /** Connections of the raylet to watched ports that the capture did not show. */
  readonly unseenConnections: number;
}

interface Episode {
  readonly id: string;
  readonly sinceMs: number;
  readonly lostBefore: number;
  readonly unseenBefore: number;
  calmIntervals: number;
  reportedAtMs: number;
}

export class BlindDetector {
  readonly #options: Reporting;
  #before: LossTotals = { received: 0, lost: 0, isCapturing: true, unseenConnections: 0 };
  #episode: Episode | undefined;

  constructor(options: Reporting) {
    this.#options = options;
  }

  /** Whether the node counts as partly blind now. */
  get isBlind(): boolean {
    return this.#episode !== undefined;
  }

  /** Takes the totals at the end of an interval. */
  observe(totals: LossTotals, nowMs: number): void {
    const before = this.#before;
    this.#before = totals;
    const lost = totals.lost - before.lost;
    const received = totals.received - before.received;
    const isDeaf = !totals.isCapturing || totals.unseenConnections > before.unseenConnections;
    const ratio = isDeaf ? 1 : lost / Math.max(received, lost, 1);
    if (this.#episode !== undefined) {
      this.#continue(this.#episode, { ratio, received }, totals, nowMs);
    } else if (ratio > BEGIN_RATIO) {
      this.#episode = {
        id: this.#options.createId(),
        sinceMs: nowMs,
        lostBefore: before.lost,
        unseenBefore: before.unseenConnections,
        calmIntervals: 0,
        reportedAtMs: nowMs,
      };
      this.#report(this.#episode, totals, nowMs);
    }
  }

  #continue(
    episode: Episode,
    { ratio, received }: { ratio: number; received: number },
    totals: LossTotals,
    nowMs: number,
  ): void {
    // Where connections were not shown, silence proves nothing.
    const mayBeDeaf = totals.unseenConnections > episode.unseenBefore && received === 0;
    episode.calmIntervals = ratio < END_RATIO && !mayBeDeaf ? episode.calmIntervals + 1 : 0;
    if (episode.calmIntervals >= CALM_INTERVALS_TO_END) {
      this.#episode = undefined;
      this.#report(episode, totals, nowMs, true);
    } else if (nowMs - episode.reportedAtMs >= REPORT_INTERVAL_MS) {
      episode.reportedAtMs = nowMs;
      this.#report(episode, totals, nowMs);
    }
  }

  #report(episode: Episode, totals: LossTotals, nowMs: number, hasEnded = false): void {
    const { node, report } = this.#options;
    const lost = totals.lost - episode.lostBefore;
    report(
      anomalyWithoutFlow({
        id: episode.id,
        kind: 'blind',
        severity: 'warning',
        node,
        count: lost,
        first: formatMilliseconds(episode.sinceMs),
        last: formatMilliseconds(nowMs),
        message: hasEnded
          ? `Node ${node} sees everything again; ${lost} packets were lost`
          : `Node ${node} is partly blind: ${describe(episode, totals)}`,
        ...(hasEnded ? { ended: true } : {}),
      }),
    );
  }
}

function describe(episode: Episode, totals: LossTotals): string {
  if (!totals.isCapturing) return 'the capture stands still';
  const unseen = totals.unseenConnections - episode.unseenBefore;
  if (unseen > 0) return `the raylet has ${unseen} connections that the capture does not show`;
  return `${totals.lost - episode.lostBefore} packets were lost before they could be judged`;
}
