/**
 * A file of JSON lines. It is opened for each attempt: whoever rotates it needs no signal, and what was written is on
 * the disk before the notification counts as delivered.
 */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { systemCodeOf } from '../../common/errors.ts';
import type { Notification } from '../store/store.ts';
import { formatNotification, type Format } from './format/format.ts';
import type { Batch, Delivery, Notifier } from './notifier.ts';

const BATCH = { minCount: 2, maxCount: 500 } as const;
/** Opening a pipe that nobody reads must not wait. */
const FLAGS = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK;
const MODE = 0o640;

export interface FileOptions {
  readonly path: string;
  readonly format: Format;
}

export function createFileNotifier({ path, format }: FileOptions): Notifier & { batch: Batch } {
  const deliver = async (notifications: readonly Notification[], signal: AbortSignal): Promise<Delivery> => {
    if (signal.aborted) return { outcome: 'retry', reason: 'no answer in time' };
    const lines = notifications.map((notification) => `${formatNotification(format, notification)}\n`);
    try {
      await orAborted(append(path, lines.join('')), signal);
      return { outcome: 'delivered' };
    } catch (error) {
      if (signal.aborted) return { outcome: 'retry', reason: 'no answer in time' };
      return { outcome: 'retry', reason: `cannot write the file (${systemCodeOf(error) ?? 'error'})` };
    }
  };
  return {
    minIntervalMs: 0,
    send: (notification, signal) => deliver([notification], signal),
    batch: { ...BATCH, send: deliver },
  };
}

/** A disk of the network that does not answer cannot be told to stop: its answer is not waited for. */
async function orAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  const settled = new AbortController();
  const aborted = new Promise<never>((_resolve, reject) => {
    const options = { once: true, signal: settled.signal };
    signal.addEventListener('abort', () => reject(new Error('aborted')), options);
  });
  try {
    await Promise.race([work, aborted]);
  } finally {
    settled.abort();
  }
}

async function append(path: string, text: string): Promise<void> {
  const file = await open(path, FLAGS, MODE);
  try {
    const before = await file.stat();
    if (!before.isFile()) throw Object.assign(new Error('no regular file'), { code: 'ENOTREG' });
    try {
      await file.appendFile(text);
      await file.datasync();
    } catch (error) {
      await cutBack(file, before.size);
      throw error;
    }
  } finally {
    await file.close();
  }
}

/** A disk that became full in the middle of a line: half a line would spoil the next one. */
async function cutBack(file: FileHandle, size: number): Promise<void> {
  await file.truncate(size).catch(() => undefined);
}
