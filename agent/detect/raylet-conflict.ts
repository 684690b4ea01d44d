/**
 * Raylets of different users on one node. Ray's own run as one user, so that another is a mistake or an impostor: a program that
 * calls itself raylet to say who belongs to the cluster. Which of them is believed does not matter here.
 *
 * One state: it begins when a second user is there, and ends when there is one or none.
 */
import { anomalyWithoutFlow } from '../../common/event.ts';
import { onOneLine } from '../../common/plain-text.ts';
import { formatMilliseconds } from '../../common/time.ts';
import type { Raylet } from '../ray/raylet.ts';
import type { Reporting } from './reporting.ts';

/** While it lasts, it is reported again this often: whoever starts programs again and again makes no more reports. */
const REPORT_INTERVAL_MS = 60_000;
/** Raylets that a message names, those that are believed first and one of each user before a second of any. */
const MAX_NAMED = 5;
const MAX_PATH_LENGTH = 120;
const MAX_MESSAGE_LENGTH = 1024;

/** What the message tells of a raylet. */
export type ConflictingRaylet = Pick<Raylet, 'pid' | 'userId' | 'executable' | 'isProven'>;

interface Episode {
  readonly id: string;
  readonly sinceMs: number;
  reportedAtMs: number;
}

interface RayletConflictOptions extends Reporting {
  /** The name of a user; undefined where it has none here. */
  readonly userName: (userId: number) => Promise<string | undefined>;
}

export class RayletConflictDetector {
  readonly #options: RayletConflictOptions;
  #episode: Episode | undefined;

  constructor(options: RayletConflictOptions) {
    this.#options = options;
  }

  /** Takes the raylets that are here now; one call after the other. */
  async observe(raylets: readonly ConflictingRaylet[], nowMs: number): Promise<void> {
    const { node, createId } = this.#options;
    const users = new Set(raylets.map(({ userId }) => userId));
    const episode = this.#episode;
    if (users.size < 2) {
      this.#episode = undefined;
      if (episode !== undefined) this.#report(episode, `One user runs raylets on ${node} again`, nowMs, true);
      return;
    }
    if (episode !== undefined && nowMs - episode.reportedAtMs < REPORT_INTERVAL_MS) return;
    const current = episode ?? { id: createId(), sinceMs: nowMs, reportedAtMs: nowMs };
    this.#episode = current;
    current.reportedAtMs = nowMs;
    const named = oneOfEachUserFirst(raylets);
    const parts = await Promise.all(named.slice(0, MAX_NAMED).map((raylet) => this.#describe(raylet)));
    const others = named.length - parts.length;
    const more = others === 0 ? '' : `; ${others} more`;
    this.#report(
      current,
      `${users.size} users run a raylet on ${node}: ${parts.join('; ')}${more}`,
      nowMs,
      false,
    );
  }

  async #describe({ pid, userId, executable, isProven }: ConflictingRaylet): Promise<string> {
    const name = await this.#options.userName(userId);
    const user = name === undefined ? `user ${userId}` : `user ${name} (${userId})`;
    const file = executable === '' ? 'file not visible' : onOneLine(executable).slice(0, MAX_PATH_LENGTH);
    return `process ${pid} of ${user}, ${file}, ${isProven ? 'proven' : 'not proven'}`;
  }

  #report({ id, sinceMs }: Episode, message: string, nowMs: number, hasEnded: boolean): void {
    const { node, report } = this.#options;
    report(
      anomalyWithoutFlow({
        id,
        kind: 'raylet-conflict',
        severity: 'warning',
        node,
        first: formatMilliseconds(sinceMs),
        last: formatMilliseconds(nowMs),
        message: message.slice(0, MAX_MESSAGE_LENGTH),
        ...(hasEnded ? { ended: true } : {}),
      }),
    );
  }
}

/** Stable otherwise. */
function oneOfEachUserFirst(raylets: readonly ConflictingRaylet[]): ConflictingRaylet[] {
  const seen = new Set<number>();
  const first: ConflictingRaylet[] = [];
  const later: ConflictingRaylet[] = [];
  for (const raylet of raylets) {
    (seen.has(raylet.userId) ? later : first).push(raylet);
    seen.add(raylet.userId);
  }
  return [...first, ...later];
}
