/**
 * "This node is partly blind": something was lost before it could be judged or reported. One state with hysteresis, never
 * a message for each loss: it begins when an interval lost more than one packet in a hundred, when the capture stands
 * still, when it runs and does not show a connection that the raylet has, or when anything found no room in a table, in
 * the queue or in the spool. It ends after three intervals with less than one packet in a thousand and nothing else; for
 * a capture that showed nothing, only once packets come again.
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
  /** Packets lost in the kernel, plus those that could not be decoded, plus connections evicted while open. */
  readonly lost: number;
  /** Whether the capture runs. */
  readonly isCapturing: boolean;
  /** Connections of the raylet to watched ports that the capture did not show. */
  readonly unseenConnections: number;
  readonly unrecorded: Unrecorded;
}

/** What was seen and found no room, since the start of the agent. Whoever fills a table shows here. */
export interface Unrecorded {
  /** Unexpected connections that are, or were, in no activity. */
  readonly connections: number;
  /** First fragments that were forgotten early: the rest of their packets is in no connection. */
  readonly fragments: number;
  /** Connections of this node to an object manager whose program nobody could look up in time. */
  readonly processes: number;
  /** Connections of the raylet that were not compared with the capture. */
  readonly unchecked: number;
  /** Reports that found no room in the queue or in the spool. */
  readonly reports: number;
}

const NOTHING_UNRECORDED: Unrecorded = {
  connections: 0,
  fragments: 0,
  processes: 0,
  unchecked: 0,
  reports: 0,
};
const LOSSES = Object.keys(NOTHING_UNRECORDED) as (keyof Unrecorded)[];

/** What a message says of each kind of loss, behind its number. */
const LOSS_TEXT: Readonly<Record<keyof Unrecorded, string>> = {
  connections: 'unexpected connections found no room among the activities',
  fragments: 'packets in pieces found no room',
  processes: 'connections of this node ended before their program could be looked up',
  unchecked: 'connections of the raylet were not compared with the capture',
  reports: 'reports were lost, because the queue or the spool is full',
};

interface Episode {
  readonly id: string;
  readonly sinceMs: number;
  /** The totals before it began. */
  readonly before: LossTotals;
  calmIntervals: number;
  reportedAtMs: number;
}

export class BlindDetector {
  readonly #options: Reporting;
  #before: LossTotals = {
    received: 0,
    lost: 0,
    isCapturing: true,
    unseenConnections: 0,
    unrecorded: NOTHING_UNRECORDED,
  };
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
    const isDeaf =
      !totals.isCapturing ||
      totals.unseenConnections > before.unseenConnections ||
      LOSSES.some((loss) => totals.unrecorded[loss] > before.unrecorded[loss]);
    const ratio = isDeaf ? 1 : lost / Math.max(received, lost, 1);
    if (this.#episode !== undefined) {
      this.#continue(this.#episode, { ratio, received }, totals, nowMs);
    } else if (ratio > BEGIN_RATIO) {
      this.#episode = {
        id: this.#options.createId(),
        sinceMs: nowMs,
        before,
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
    const mayBeDeaf = totals.unseenConnections > episode.before.unseenConnections && received === 0;
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
    const { before } = episode;
    const unrecorded = LOSSES.map((loss) => totals.unrecorded[loss] - before.unrecorded[loss]);
    report(
      anomalyWithoutFlow({
        id: episode.id,
        kind: 'blind',
        severity: 'warning',
        node,
        count: unrecorded.reduce((sum, lost) => sum + lost, totals.lost - before.lost),
        first: formatMilliseconds(episode.sinceMs),
        last: formatMilliseconds(nowMs),
        message: hasEnded
          ? `Node ${node} sees everything again; ${lossesOf(totals, before).join('; ')}`
          : `Node ${node} is partly blind: ${causesOf(totals, before).join('; ')}`,
        ...(hasEnded ? { ended: true } : {}),
      }),
    );
  }
}

/** Why the node is partly blind, in a clause for each cause. */
function causesOf(totals: LossTotals, before: LossTotals): string[] {
  const unseen = totals.unseenConnections - before.unseenConnections;
  const [packets = '', ...others] = lossesOf(totals, before);
  const causes = [
    ...(totals.isCapturing ? [] : ['the capture stands still']),
    ...(unseen > 0 ? [`the raylet has ${unseen} connections that the capture does not show`] : []),
    ...others,
  ];
  if (totals.lost > before.lost || causes.length === 0) causes.push(`${packets} before they could be judged`);
  return causes;
}

/** What is known to be lost: packets, and a clause for everything else that was. */
function lossesOf(totals: LossTotals, before: LossTotals): string[] {
  const others = LOSSES.map((loss) => [totals.unrecorded[loss] - before.unrecorded[loss], loss] as const)
    .filter(([lost]) => lost > 0)
    .map(([lost, loss]) => `${lost} ${LOSS_TEXT[loss]}`);
  return [`${totals.lost - before.lost} packets were lost`, ...others];
}
