/**
 * Attempts: connections that were not answered, or refused. The first peers are reported one by one, all others in one
 * sum, so that a flood of attempts is one anomaly and takes no place from a peer whose connection was answered.
 */
import type { Flow } from '../flow/flow.ts';
import { ActivityTracker, type ActivityOptions } from './activities.ts';
import type { Activity, Candidate } from './activity.ts';
import { AttemptSum } from './attempt-sum.ts';
import type { Address } from '../../common/address.ts';
import { anomalyWithoutFlow, type Anomaly, type Attempts } from '../../common/event.ts';
import { formatMilliseconds } from '../../common/time.ts';

/** Peers whose attempts are reported one by one, at a time. */
export const MAX_ATTEMPT_ACTIVITIES = 100;
/** The sum is reported again at most this often, and is over after this time without an attempt. */
const REPORT_INTERVAL_MS = 10_000;
const QUIET_MS = 60_000;
/** A prefix that made more than this share of the attempts is named in the message. */
const NAMED_SHARE = 0.1;

/** A sum of attempts that goes on. */
interface Episode {
  readonly id: string;
  readonly sinceMs: number;
  lastMs: number;
  /** How many there were at `lastMs`. */
  count: number;
  reportedCount: number;
  reportedAtMs: number;
}

export class AttemptDetector<Tag> {
  readonly #options: ActivityOptions<Tag>;
  readonly #activities: ActivityTracker<Tag>;
  readonly #sum = new AttemptSum();
  /** Open flows that are in the sum; bounded by the flow table. */
  readonly #summed = new Set<Flow<Tag>>();
  #episode: Episode | undefined;

  constructor(options: ActivityOptions<Tag>) {
    this.#options = options;
    // Nobody needs the packets of an attempt: there is nothing in them.
    this.#activities = new ActivityTracker({ ...options, record: () => true }, MAX_ATTEMPT_ACTIVITIES);
  }

  /** The activities of the peers whose attempts are reported one by one. */
  get activities(): ActivityTracker<Tag> {
    return this.#activities;
  }

  /**
   * Takes an attempt. Calling it again for the same flow changes nothing.
   *
   * @param isPending where its activity begins with it: whether it is to be confirmed or dropped later
   * @returns the activity that it is part of; undefined where it is in the sum
   */
  add(candidate: Candidate<Tag>, nowMs: number, isPending = false): Activity<Tag> | undefined {
    const { flow } = candidate;
    const known = this.#activities.of(flow);
    if (known !== undefined || this.#summed.has(flow)) return known;
    if (this.#activities.hasActivityFor(candidate) || this.#activities.size < MAX_ATTEMPT_ACTIVITIES) {
      return this.#activities.add(candidate, nowMs, isPending);
    }
    this.#summed.add(flow);
    this.count(flow.initiator, flow.responder.port);
    return undefined;
  }

  /** Takes an attempt of which nothing else is known. Cheap: called for each packet of a flood. */
  count(source: Address, port: number): void {
    this.#sum.add(source, port);
  }

  /** Lets a flow go that is no attempt, or has ended. */
  release(flow: Flow<Tag>): void {
    if (this.#summed.size > 0) this.#summed.delete(flow);
    this.#activities.release(flow);
  }

  /** Reports what has grown, and forgets what is over. */
  tick(nowMs: number): void {
    this.#activities.tick(nowMs);
    this.#tickSum(nowMs);
  }

  /** Reports the final state of everything. */
  end(nowMs: number): void {
    this.#activities.end(nowMs);
    this.#tickSum(nowMs);
    if (this.#episode !== undefined) this.#endEpisode(this.#episode);
  }

  #tickSum(nowMs: number): void {
    if (this.#sum.count === 0) return;
    const episode = (this.#episode ??= {
      id: this.#options.createId(),
      sinceMs: nowMs,
      lastMs: nowMs,
      count: 0,
      reportedCount: 0,
      reportedAtMs: -Infinity,
    });
    if (this.#sum.count !== episode.count) episode.lastMs = nowMs;
    episode.count = this.#sum.count;
    const isDue = nowMs - episode.reportedAtMs >= REPORT_INTERVAL_MS;
    if (nowMs - episode.lastMs > QUIET_MS) this.#endEpisode(episode);
    else if (isDue && episode.count !== episode.reportedCount) {
      const phase = episode.reportedCount === 0 ? 'opened' : 'growing';
      episode.reportedCount = episode.count;
      episode.reportedAtMs = nowMs;
      this.#options.report(this.#anomalyOf(episode), phase);
    }
  }

  #endEpisode(episode: Episode): void {
    this.#options.report(this.#anomalyOf(episode), 'over');
    this.#episode = undefined;
    this.#sum.clear();
  }

  #anomalyOf({ id, sinceMs, lastMs, count }: Episode): Anomaly {
    const { node } = this.#options;
    const attempts = this.#sum.attempts();
    return anomalyWithoutFlow({
      id,
      kind: 'connection-attempts',
      severity: 'warning',
      node,
      count,
      attempts,
      first: formatMilliseconds(sinceMs),
      last: formatMilliseconds(lastMs),
      message: sentenceOf(node, count, attempts),
    });
  }
}

function sentenceOf(node: string, count: number, { sources, ports }: Attempts): string {
  const named = sources.filter((source) => source.count > count * NAMED_SHARE);
  const from =
    named.length === 0
      ? 'from many addresses'
      : `most from ${named.map((source) => `${source.prefix} (${source.count})`).join(', ')}`;
  const to = ports.map(({ port }) => port).slice(0, 4);
  const where = `port${to.length === 1 ? '' : 's'} ${to.join(', ')}${ports.length > to.length ? ' and others' : ''}`;
  return `Node ${node} saw ${count} connection attempts without an answer to ${where}, ${from}`;
}
