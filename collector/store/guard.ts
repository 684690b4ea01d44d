/** Work on the store that a timer starts: nobody waits for it who could be told that it failed. */
import { PlasmawatchError } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import type { CollectorMetrics } from '../metrics.ts';

/** Does work on the store; false when the store failed. Other errors are thrown on. */
export type StoreGuard = (work: () => void) => boolean;

/** A guard that counts every failure, and logs the first one and the recovery. */
export function createStoreGuard({
  logger,
  metrics,
}: {
  readonly logger: Logger;
  readonly metrics: CollectorMetrics;
}): StoreGuard {
  let isFailing = false;
  return (work) => {
    try {
      work();
    } catch (error) {
      if (!(error instanceof PlasmawatchError) || error.code !== 'PW_STORE') throw error;
      metrics.storeFailures.inc();
      if (!isFailing) logger.error({ code: error.code }, error.message);
      isFailing = true;
      return false;
    }
    if (isFailing) logger.info('the store works again');
    isFailing = false;
    return true;
  };
}
