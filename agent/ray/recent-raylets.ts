/** The raylets of this node without a walk through /proc at every question. */
import type { Clock } from '../../common/clock.ts';
import type { Raylet } from './raylet.ts';

/** A raylet that starts or ends is noticed after this time. */
const MAX_AGE_MS = 5000;

interface RecentRayletsOptions {
  readonly clock: Pick<Clock, 'now'>;
  readonly findRaylets: () => Promise<readonly Raylet[]>;
}

/** A function that answers with the raylets as they were at most five seconds ago. */
export function rememberRaylets({
  clock,
  findRaylets,
}: RecentRayletsOptions): () => Promise<readonly Raylet[]> {
  let foundAtMs = -Infinity;
  let raylets: Promise<readonly Raylet[]> = Promise.resolve([]);
  return () => {
    if (clock.now() - foundAtMs >= MAX_AGE_MS) {
      foundAtMs = clock.now();
      raylets = findRaylets();
    }
    return raylets;
  };
}
