/** The raylets of this node without a walk through /proc at every question, and without waiting for a process that stalls one. */
import type { Clock } from '../../common/clock.ts';
import { messageOf } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import type { Raylet } from './raylet.ts';

/** A raylet that starts or ends is noticed after this time. */
const MAX_AGE_MS = 5000;

interface RecentRayletsOptions {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly logger: Logger;
  readonly findRaylets: () => Promise<readonly Raylet[]>;
}

/**
 * A function that answers with the raylets as they were at most five seconds ago. Where they cannot be looked for at the moment,
 * those that were found last are still there. An urgent question, of which there is at most one a second, searches anew where
 * none was found last.
 * @throws what the search throws, as long as none has succeeded
 */
export function rememberRaylets({
  clock,
  logger,
  findRaylets,
}: RecentRayletsOptions): (isUrgent?: boolean) => Promise<readonly Raylet[]> {
  let askedAtMs = -Infinity;
  let known: readonly Raylet[] | undefined;
  let isFailing = false;
  let answer: Promise<readonly Raylet[]> = Promise.resolve([]);

  async function ask(): Promise<readonly Raylet[]> {
    try {
      known = await findRaylets();
      if (isFailing) logger.info('the raylets of this node are found again');
      isFailing = false;
      return known;
    } catch (error) {
      if (!isFailing)
        logger.warn({ reason: messageOf(error) }, 'raylets not looked for: the last ones are taken');
      isFailing = true;
      if (known === undefined) throw error;
      return known;
    }
  }

  return (isUrgent = false) => {
    const maxAgeMs = isUrgent && known?.length === 0 ? 0 : MAX_AGE_MS;
    if (clock.monotonic() - askedAtMs >= maxAgeMs) {
      askedAtMs = clock.monotonic();
      answer = ask();
      // Whoever asks sees the failure; it is none of this process when nobody does.
      answer.catch(() => {});
    }
    return answer;
  };
}
