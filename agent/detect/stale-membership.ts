/**
 * "Who belongs to the cluster is out of date": the source has not answered for a while, so that a node that joins
 * looks like a stranger, and one that has left like a member. One state: it begins past that age and ends with the next
 * answer.
 */
import { anomalyWithoutFlow } from '../../common/event.ts';
import { formatMilliseconds } from '../../common/time.ts';
import type { Reporting } from './reporting.ts';

/** While it lasts, it is reported again this often. */
const REPORT_INTERVAL_MS = 60_000;

interface Episode {
  readonly id: string;
  /** The last answer of the source. */
  readonly sinceMs: number;
  reportedAtMs: number;
}

export class StaleMembershipDetector {
  readonly #options: Reporting;
  readonly #staleMs: number;
  #episode: Episode | undefined;

  /** @param staleMs the age past which it is reported */
  constructor(options: Reporting, staleMs: number) {
    this.#options = options;
    this.#staleMs = staleMs;
  }

  /** Takes the age of the oldest view of the cluster, in ms. */
  observe(ageMs: number, nowMs: number): void {
    const episode = this.#episode;
    if (ageMs <= this.#staleMs) {
      this.#episode = undefined;
      if (episode !== undefined) this.#report(episode, nowMs, true);
    } else if (episode === undefined) {
      this.#episode = { id: this.#options.createId(), sinceMs: nowMs - ageMs, reportedAtMs: nowMs };
      this.#report(this.#episode, nowMs);
    } else if (nowMs - episode.reportedAtMs >= REPORT_INTERVAL_MS) {
      episode.reportedAtMs = nowMs;
      this.#report(episode, nowMs);
    }
  }

  #report({ id, sinceMs }: Episode, nowMs: number, hasEnded = false): void {
    const { node, report, wallAheadMs } = this.#options;
    const since = formatMilliseconds(sinceMs);
    const shownSince = formatMilliseconds(sinceMs + (wallAheadMs?.() ?? 0));
    report(
      anomalyWithoutFlow({
        id,
        kind: 'stale-membership',
        severity: 'warning',
        node,
        first: since,
        last: formatMilliseconds(nowMs),
        message: hasEnded
          ? `Node ${node} knows again who belongs to the cluster`
          : `Node ${node} knows since ${shownSince} nothing new of who belongs to the cluster: the source does not answer`,
        ...(hasEnded ? { ended: true } : {}),
      }),
    );
  }
}
