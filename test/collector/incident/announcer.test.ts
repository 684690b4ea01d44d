import { afterEach, describe, expect, it } from 'vitest';
import { Announcer, MAX_PENDING_NOTIFICATIONS } from '../../../collector/incident/announcer.ts';
import type { Anomaly } from '../../../common/event.ts';
import { openParts, TEST_EPOCH, TEST_TIMING, type PartsOptions } from '../../support/collector-parts.ts';
import { sampleAnomaly } from '../../support/sample-report.ts';

type Parts = Awaited<ReturnType<typeof openParts>>;

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;

let parts: Parts;
let sequence = 0;
afterEach(() => {
  parts.announcer.stop();
  parts.recorder.stop();
});

async function open(options: PartsOptions = {}): Promise<void> {
  parts = await openParts({ quietMs: 10 * HOUR_MS, ...options });
  parts.recorder.start();
  parts.announcer.start();
}

function report(changes: Partial<Anomaly> = {}): void {
  sequence++;
  const anomaly: Anomaly = { ...sampleAnomaly(1), severity: 'warning', ...changes };
  parts.recorder.record('w1', TEST_EPOCH, [{ sequence, report: anomaly }]);
}

/** What waits for a receiver: `type count`. */
function told(receiver = 'ops'): string[] {
  return parts.store.pending(receiver, 1000).map(({ type, incident }) => `${type} ${incident.count}`);
}

describe('the announcer', () => {
  it('tells what waited with all that came meanwhile', async () => {
    await open();
    report({ count: 1 });
    parts.clock.advance(9 * SECOND_MS);
    report({ count: 40, last: '2026-11-23T10:00:09Z' });
    expect(told()).toEqual([]);
    parts.clock.advance(SECOND_MS);
    expect(told()).toEqual(['opened 40']);
  });

  it('says that something is to be delivered, once it is on the disk', async () => {
    const seen: number[] = [];
    await open({ onWritten: () => seen.push(parts.store.pendingCount('ops')) });
    report({ severity: 'critical' });
    expect(seen).toEqual([1]);
    parts.clock.advance(4 * HOUR_MS);
    expect(seen).toEqual([1, 2]);
    expect(told()).toEqual(['opened 1', 'repeated 1']);
  });

  it('tells a receiver of what became bad enough for it as of something new', async () => {
    await open({
      audiences: [
        { name: 'all', minimumSeverity: 'info' },
        { name: 'pager', minimumSeverity: 'critical' },
      ],
    });
    report();
    parts.clock.advance(10 * SECOND_MS);
    expect([told('all'), told('pager')]).toEqual([['opened 1'], []]);
    report({ severity: 'critical', count: 2, last: '2026-11-23T10:00:09Z' });
    expect([told('all'), told('pager')]).toEqual([['opened 1', 'escalated 2'], ['opened 2']]);
  });

  it('tells of the end by hand at once, to whoever was told', async () => {
    await open();
    report();
    report({ id: 'other', kind: 'volume', severity: 'critical' });
    parts.recorder.resolve('INC-1', 'kim');
    parts.recorder.resolve('INC-2', 'kim');
    parts.clock.advance(HOUR_MS);
    expect(told()).toEqual(['opened 1', 'resolved 1']);
    expect(parts.store.incident('INC-2')).toMatchObject({ state: 'resolved', resolvedBy: 'kim' });
    expect(parts.recorder.resolve('INC-2', 'robin')?.resolvedBy).toBe('kim');
    expect(parts.recorder.resolve('INC-9', 'kim')).toBeUndefined();
  });

  it('tells nobody what is muted, and as something new when the mute has ended before it', async () => {
    let isMuted = true;
    await open({ mutedBy: () => (isMuted ? 'a silence' : undefined) });
    report({ severity: 'critical' });
    parts.clock.advance(HOUR_MS);
    expect(told()).toEqual([]);
    isMuted = false;
    parts.clock.advance(MINUTE_MS);
    expect(told()).toEqual(['opened 1']);
    isMuted = true;
    report({ severity: 'critical', count: 100, last: '2026-11-23T10:00:09Z' });
    parts.clock.advance(HOUR_MS);
    expect(told()).toEqual(['opened 1']);
    parts.recorder.resolve('INC-1', 'kim');
    expect(told()).toEqual(['opened 1', 'resolved 100']);
  });

  it('never tells of what was muted all its life', async () => {
    await open({ mutedBy: () => 'a silence' });
    report({ severity: 'critical' });
    parts.recorder.resolve('INC-1', 'kim');
    parts.clock.advance(HOUR_MS);
    expect(told()).toEqual([]);
  });

  it('holds back what finds no room, and says so in the next message', async () => {
    await open();
    const { store, metrics, clock } = parts;
    report({ severity: 'critical' });
    const [first] = store.pending('ops', 1);
    if (first === undefined) throw new Error('nothing was told');
    store.transaction(() => {
      for (let number = 1; number < MAX_PENDING_NOTIFICATIONS; number++) {
        store.enqueue({ ...first, id: `filler ${number}` });
      }
    });
    report({ severity: 'critical', count: 9, last: '2026-11-23T10:00:09Z' });
    clock.advance(HOUR_MS);
    expect(store.pendingCount('ops')).toBe(MAX_PENDING_NOTIFICATIONS);
    expect((await metrics.notificationsTurnedAway.get()).values[0]?.value).toBe(1);
    store.failPending({ receiver: 'ops' }, 'to make room');
    clock.advance(MINUTE_MS);
    expect(store.pending('ops', 9)).toMatchObject([{ type: 'updated', heldBack: 1, incident: { count: 9 } }]);
  });
});

describe('the flood guard', () => {
  /** The story comes back and is resolved, so many times. */
  function flap(times: number): void {
    for (let time = 0; time < times; time++) {
      flaps++;
      report({
        severity: 'critical',
        count: flaps,
        last: new Date(Date.UTC(2026, 10, 23, 10, 0, flaps)).toISOString(),
      });
      parts.recorder.resolve('INC-1', 'kim');
    }
  }
  let flaps = 0;

  it('lets ten messages of a kind and peer through in an hour, and says how many it held back', async () => {
    flaps = 0;
    await open();
    flap(13);
    const types = (type: string): number => told().filter((each) => each.startsWith(type)).length;
    expect([types('opened'), types('reopened'), types('resolved')]).toEqual([1, 9, 10]);
    expect((await parts.metrics.notificationsHeldBack.get()).values[0]).toMatchObject({
      labels: { receiver: 'ops' },
      value: 3,
    });
    report({ severity: 'critical', id: 'other', kind: 'volume' });
    expect(told().at(-1)).toBe('opened 1');
    parts.clock.advance(HOUR_MS);
    flap(1);
    expect(parts.store.pending('ops', 1000).slice(-2)).toMatchObject([
      { type: 'reopened', heldBack: 3 },
      { type: 'resolved', heldBack: 0 },
    ]);
  });

  it('tells late what it held back and is still so', async () => {
    flaps = 0;
    await open();
    flap(10);
    report({ severity: 'critical', count: 50, last: '2026-11-23T11:00:00Z' });
    expect(told()).toHaveLength(20);
    parts.clock.advance(HOUR_MS);
    expect(told().slice(20)).toEqual(['reopened 50']);
  });
});

describe('a restart', () => {
  /** Another run of the collector on the same store. */
  function nextRun(receivers: string[]): Announcer {
    const { store, guard, clock, metrics } = parts;
    return new Announcer({
      store,
      guard,
      clock,
      metrics,
      timing: TEST_TIMING,
      messagesPerHour: 10,
      receivers,
      receiversOf: () => receivers,
      mutedBy: () => undefined,
      onWritten: () => {},
    });
  }

  it('tells nothing twice, and late what became due meanwhile', async () => {
    await open();
    report();
    report({ id: 'other', kind: 'volume', severity: 'critical' });
    parts.announcer.stop();
    parts.clock.advance(HOUR_MS);
    expect(told()).toEqual(['opened 1']);
    const next = nextRun(['ops']);
    next.start();
    parts.clock.advance(SECOND_MS);
    expect(parts.store.pending('ops', 9).map(({ incident }) => incident.id)).toEqual(['INC-2', 'INC-1']);
    next.stop();
  });

  it('forgets a receiver that is none any more', async () => {
    await open();
    report({ severity: 'critical' });
    parts.announcer.stop();
    const next = nextRun(['another']);
    next.start();
    parts.recorder.stop();
    expect(parts.store.tellings.of('INC-1')).toEqual([]);
    next.stop();
  });
});
