/** A store with its recorder on a clock that the test moves, as most tests of the collector need them. */
import { silentLogger } from '../../common/log.ts';
import { OwnStories } from '../../collector/fleet/own-stories.ts';
import { FleetWatch } from '../../collector/fleet/watch.ts';
import { Recorder, type IncidentEvent, type RecorderOptions } from '../../collector/incident/recorder.ts';
import { createCollectorMetrics } from '../../collector/metrics.ts';
import { createStoreGuard } from '../../collector/store/guard.ts';
import { openSqliteStore } from '../../collector/store/sqlite.ts';
import type { Incident, Notification } from '../../collector/store/store.ts';
import { FakeClock } from './fake-clock.ts';

export const TEST_EPOCH = '6f1c2a52-5df2-4c0e-9d8e-2a4f1a7f0001';

export async function openParts(options: Partial<RecorderOptions> = {}) {
  const clock = new FakeClock();
  const metrics = createCollectorMetrics();
  const logger = silentLogger;
  const store = await openSqliteStore(':memory:');
  const guard = createStoreGuard({ logger, metrics });
  const events: IncidentEvent[] = [];
  const recorder = new Recorder({
    store,
    guard,
    clock,
    metrics,
    audiences: [{ name: 'ops', minimumSeverity: 'info' }],
    quietMs: 600_000,
    maxUnresolved: 100,
    onCommit: (happened) => events.push(...happened),
    ...options,
  });
  const stories = new OwnStories({ store, recorder, clock, quietMs: 600_000 });
  const fleet = new FleetWatch({
    store,
    guard,
    stories,
    clock,
    missingAfterMs: 60_000,
    stoppedAfterMs: 3_600_000,
  });
  return { clock, metrics, logger, store, guard, recorder, stories, fleet, events };
}

export function sampleIncident(changes: Partial<Incident> = {}): Incident {
  return {
    id: 'INC-1',
    fingerprint: '["contact","10.77.9.66","object-manager"]',
    state: 'open',
    severity: 'critical',
    kind: 'unexpected-peer',
    title: 'Unexpected peer 10.77.9.66 talks to the object manager on w1',
    peer: '10.77.9.66',
    service: 'object-manager',
    nodes: ['w1'],
    nodeCount: 1,
    anomalyCount: 1,
    count: 3,
    bytes: 4200,
    first: '2026-11-23T09:42:10.208000000Z',
    last: '2026-11-23T09:42:12.260000000Z',
    message: '10.77.9.66 is no member and no rule allows it',
    openedMs: Date.UTC(2026, 10, 23, 9, 42, 13),
    lastReportMs: Date.UTC(2026, 10, 23, 9, 42, 13),
    acknowledgedMs: null,
    resolvedMs: null,
    ...changes,
  };
}

export function sampleNotification(changes: Partial<Notification> = {}): Notification {
  return {
    id: 'msg_00000000-0000-4000-8000-000000000001',
    receiver: 'ops',
    type: 'opened',
    incident: sampleIncident(),
    createdMs: Date.UTC(2026, 10, 23, 9, 42, 13),
    ...changes,
  };
}
