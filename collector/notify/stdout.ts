/** Standard output, one JSON object a line, for whatever collects what services print. */
import type { Notification } from '../store/store.ts';
import { formatNotification, type Format } from './format/format.ts';
import type { Delivery, Notifier } from './notifier.ts';

export interface StdoutOptions {
  readonly format: Format;
  readonly stdout: NodeJS.WritableStream;
}

export function createStdoutNotifier({ format, stdout }: StdoutOptions): Notifier {
  return {
    minIntervalMs: 0,
    async send(notification: Notification, signal: AbortSignal): Promise<Delivery> {
      if (signal.aborted) return { outcome: 'retry', reason: 'no answer in time' };
      return await new Promise((resolve) => {
        const giveUp = (): void => resolve({ outcome: 'retry', reason: 'no answer in time' });
        signal.addEventListener('abort', giveUp, { once: true });
        stdout.write(`${formatNotification(format, notification)}\n`, (error) => {
          signal.removeEventListener('abort', giveUp);
          resolve(
            error === null || error === undefined
              ? { outcome: 'delivered' }
              : { outcome: 'retry', reason: 'cannot write to standard output' },
          );
        });
      });
    },
  };
}
