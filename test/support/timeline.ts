/**
 * A story as it is told: reports of agents go through recorder, store, announcer and dispatcher on a clock of the test, and
 * every message that a receiver gets is a line.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Anomaly } from '../../common/event.ts';
import { formatSize } from '../../common/units.ts';
import { Dispatcher } from '../../collector/notify/dispatcher.ts';
import type { Notifier } from '../../collector/notify/notifier.ts';
import type { Notification } from '../../collector/store/store.ts';
import { openParts, TEST_EPOCH } from './collector-parts.ts';

const SECOND_MS = 1000;
/** One is told of everything, one is woken by what is critical. */
const AUDIENCES = [
  { name: 'chat', minimumSeverity: 'info' },
  { name: 'pager', minimumSeverity: 'critical' },
] as const;

export interface Timeline {
  /** An agent reports an anomaly as it stands now; its `last` is the time of the clock. */
  report(anomaly: Anomaly): void;
  /** Passes time, in steps of a second. */
  pass(durationMs: number): Promise<void>;
  /** What the receivers got: `0:00:10 chat, pager opened: title (numbers)`. */
  lines(): string[];
  close(): Promise<void>;
}

export async function openTimeline(): Promise<Timeline> {
  let isWritten = false;
  const onWritten = (): void => {
    isWritten = true;
  };
  const parts = await openParts({ audiences: AUDIENCES, quietMs: 900_000, onWritten });
  const { clock, store, recorder, announcer } = parts;
  const startMs = clock.now();
  /** Who got a message, by its line, in the order of the messages. */
  const told = new Map<string, string[]>();
  const listener = (): Notifier => ({
    minIntervalMs: 0,
    send: async (notification) => {
      const line = lineOf(notification, startMs);
      told.set(line, [...(told.get(line) ?? []), notification.receiver]);
      return { outcome: 'delivered' };
    },
  });
  const notifiers = new Map(AUDIENCES.map(({ name }) => [name, listener()]));
  const dispatcher = new Dispatcher({ ...parts, notifiers, random: () => 0.5, giveUpMs: 86_400_000 });
  recorder.start();
  announcer.start();
  dispatcher.start();
  const deliver = async (): Promise<void> => {
    if (!isWritten) return;
    isWritten = false;
    dispatcher.wake();
    while (AUDIENCES.some(({ name }) => store.pendingCount(name) > 0)) await nextTurn();
  };
  return {
    report(anomaly) {
      const { node } = anomaly;
      const sequence = store.lastSequence(node, TEST_EPOCH) + 1;
      const last = new Date(clock.now()).toISOString();
      recorder.record(node, TEST_EPOCH, [{ sequence, report: { ...anomaly, last } }]);
    },
    async pass(durationMs) {
      for (let passedMs = 0; passedMs < durationMs; passedMs += SECOND_MS) {
        await deliver();
        clock.advance(SECOND_MS);
        await deliver();
      }
    },
    lines: () =>
      [...told].map(([line, receivers]) => line.replace(' ', ` ${receivers.toSorted().join(', ')} `)),
    async close() {
      await dispatcher.stop();
      announcer.stop();
      recorder.stop();
      store.close();
    },
  };
}

function lineOf({ type, incident, createdMs }: Notification, startMs: number): string {
  const { title, severity, count, bytes, kind } = incident;
  const connections = `${count} ${count === 1 ? 'connection' : 'connections'}`;
  const numbers = kind === 'blind' ? `${count} lost packets` : `${connections}, ${formatSize(bytes)}`;
  return `${elapsed(createdMs - startMs)} ${type}: ${title} (${severity}, ${numbers})`;
}

/** `0:00:10` */
function elapsed(milliseconds: number): string {
  const seconds = Math.round(milliseconds / SECOND_MS);
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return [hours, String(minutes).padStart(2, '0'), String(seconds % 60).padStart(2, '0')].join(':');
}
