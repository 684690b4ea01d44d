/**
 * "Cluster membership is not known yet": no source has given a complete list of the members since the agent started.
 * Unknown peers that may be members are pending meanwhile (first-list.ts), and this one state stands for all of them. It
 * becomes critical when the longest wait is over while there were such peers, and ends with the first list.
 */
import { anomalyWithoutFlow, type Anomaly } from '../../common/event.ts';
import { formatMilliseconds, shortTime } from '../../common/time.ts';
import type { Reporting } from './reporting.ts';

/** While it lasts, it is reported again this often. */
const REPORT_INTERVAL_MS = 60_000;
/** A roll-out takes a few minutes. While peers are pending, it is reported no later than this. */
const PENDING_MS = 150_000;
/** Peers that a message names. */
const MAX_NAMED = 10;

/** What is known at a moment. */
export interface MembershipState {
  /** Since when the first list is awaited, in ms since the epoch; undefined where it is there, or nobody needs it. */
  readonly awaitedSinceMs: number | undefined;
  /** Peers that are pending until then. */
  readonly peers: readonly string[];
  /** Whether the longest wait is over. */
  readonly isOverdue: boolean;
}

interface Episode {
  readonly sinceMs: number;
  /** Undefined until it is reported. */
  id: string | undefined;
  severity: Anomaly['severity'];
  /** Those that were pending last, as long as there were any. */
  peers: readonly string[];
  reportedAtMs: number;
}

export class UnknownMembershipDetector {
  readonly #options: Reporting;
  readonly #afterMs: number;
  #episode: Episode | undefined;

  /** @param afterMs time without a list after which it is reported though no peer is pending */
  constructor(options: Reporting, afterMs: number) {
    this.#options = options;
    this.#afterMs = afterMs;
  }

  observe({ awaitedSinceMs, peers, isOverdue }: MembershipState, nowMs: number): void {
    if (awaitedSinceMs === undefined && peers.length === 0) {
      this.#end(nowMs);
      return;
    }
    const episode = (this.#episode ??= {
      sinceMs: awaitedSinceMs ?? nowMs,
      id: undefined,
      severity: 'warning',
      peers: [],
      reportedAtMs: -Infinity,
    });
    if (peers.length > 0) episode.peers = peers;
    const afterMs = episode.peers.length > 0 ? Math.min(PENDING_MS, this.#afterMs) : this.#afterMs;
    const isEscalated = isOverdue && episode.peers.length > 0 && episode.severity !== 'critical';
    if (isEscalated) episode.severity = 'critical';
    const isDue = nowMs - episode.sinceMs >= afterMs && nowMs - episode.reportedAtMs >= REPORT_INTERVAL_MS;
    if (isDue || isEscalated) this.#report(episode, nowMs);
  }

  /** Names the peers that are pending when the agent stops: what they did is not reported. */
  stop({ awaitedSinceMs, peers }: MembershipState, nowMs: number): void {
    if (peers.length === 0) return;
    const episode = (this.#episode ??= {
      sinceMs: awaitedSinceMs ?? nowMs,
      id: undefined,
      severity: 'warning',
      peers,
      reportedAtMs: -Infinity,
    });
    episode.peers = peers;
    this.#report(episode, nowMs, 'the agent stops, and does not report what they did');
  }

  #end(nowMs: number): void {
    const episode = this.#episode;
    this.#episode = undefined;
    if (episode?.id !== undefined) this.#report(episode, nowMs, undefined, true);
  }

  #report(episode: Episode, nowMs: number, outcome = outcomeOf(episode), hasEnded = false): void {
    const { node, report, createId, wallAheadMs } = this.#options;
    const { sinceMs, peers, severity } = episode;
    episode.id ??= createId();
    episode.reportedAtMs = nowMs;
    const since = formatMilliseconds(sinceMs);
    const shownSince = shortTime(formatMilliseconds(sinceMs + (wallAheadMs?.() ?? 0)));
    const pending = peers.length === 0 ? '' : `; ${peersInWords(peers)}: ${outcome}`;
    report(
      anomalyWithoutFlow({
        id: episode.id,
        kind: 'unknown-membership',
        severity,
        node,
        count: peers.length,
        first: since,
        last: formatMilliseconds(nowMs),
        message: hasEnded
          ? `Cluster membership on ${node} is known, or no longer needed there`
          : `Cluster membership on ${node} is not known yet: no source has listed the members since ${shownSince}${pending}`,
        ...(hasEnded ? { ended: true } : {}),
      }),
    );
  }
}

function outcomeOf({ severity }: Episode): string {
  return severity === 'critical'
    ? 'the wait is over, and each is reported'
    : 'pending until the list is there';
}

/** `3 peers may be members (10.0.0.1, 10.0.0.2, 10.0.0.3)` */
function peersInWords(peers: readonly string[]): string {
  const named = peers.slice(0, MAX_NAMED).join(', ');
  const more = peers.length > MAX_NAMED ? ` and ${peers.length - MAX_NAMED} more` : '';
  return `${peers.length} ${peers.length === 1 ? 'peer' : 'peers'} may be members (${named}${more})`;
}
