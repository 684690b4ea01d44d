/** A store with its recorder on a clock that the test moves, as most tests of the collector need them. */
import { silentLogger } from '../../common/log.ts';
import { AgentClocks } from '../../collector/fleet/agent-clocks.ts';
import { Refusals } from '../../collector/edge/refusals.ts';
import { Enrolments } from '../../collector/fleet/enrolments.ts';
import { LimitWatch } from '../../collector/fleet/limit-watch.ts';
import { OwnStories } from '../../collector/fleet/own-stories.ts';
import { FleetWatch } from '../../collector/fleet/watch.ts';
import { Announcer, type AnnouncerOptions } from '../../collector/incident/announcer.ts';
import { audienceOf, type Audience } from '../../collector/incident/audiences.ts';
import { inhibition } from '../../collector/incident/inhibition.ts';
import { firstReason } from '../../collector/incident/muting.ts';
import type { GroupingLimits } from '../../collector/incident/grouping.ts';
import { Recorder, type RecorderOptions } from '../../collector/incident/recorder.ts';
import { Silences } from '../../collector/incident/silences.ts';
import type { IncidentEvent } from '../../collector/incident/tally.ts';
import type { Timing } from '../../collector/incident/timing.ts';
import { createCollectorMetrics } from '../../collector/metrics.ts';
import { StoreClock } from '../../collector/store-clock.ts';
import { StoreHealth } from '../../collector/store/health.ts';
import { openSqliteStore } from '../../collector/store/sqlite.ts';
import type { Incident, Notification, Store } from '../../collector/store/store.ts';
import { FakeClock } from './fake-clock.ts';

export const TEST_EPOCH = '6f1c2a52-5df2-4c0e-9d8e-2a4f1a7f0001';

/** As the settings have them when nobody gives others. */
export const TEST_TIMING: Timing = {
  groupWaitMs: 10_000,
  updateIntervalMs: 300_000,
  repeatIntervalMs: 14_400_000,
};

export const TEST_LIMITS: GroupingLimits = {
  maxUnresolved: 100,
  reopenWithinMs: 21_600_000,
  burstSubjects: 5,
  burstWithinMs: 300_000,
  scanStories: 5,
};

export interface PartsOptions
  extends
    Partial<Pick<RecorderOptions, 'quietMs' | 'maxQuietMs' | 'onCommit' | 'toStore' | 'inOurTime'>>,
    Partial<Pick<AnnouncerOptions, 'timing' | 'messagesPerHour' | 'mutedBy' | 'onWritten'>> {
  /** One in memory when not given. */
  readonly store?: Store;
  readonly audiences?: readonly Audience[];
  /** What the wall clock shows at first. */
  readonly startMs?: number;
  readonly limits?: Partial<GroupingLimits>;
}

export async function openParts(options: PartsOptions = {}) {
  const { audiences = [{ name: 'ops', minimumSeverity: 'info' }] } = options;
  const moved = new FakeClock(options.startMs);
  const metrics = createCollectorMetrics();
  const logger = silentLogger;
  const { store = await openSqliteStore(':memory:') } = options;
  const health = new StoreHealth({ store, clock: moved, logger, metrics });
  const { guard } = health;
  const storeClock = new StoreClock({
    clock: moved,
    store,
    guard,
    logger,
    metrics,
    shifted: () => {
      stories.load();
      silences.reload();
    },
    resumed: () => {
      recorder.resume();
      fleet.resume();
    },
  });
  const { clock } = storeClock;
  const events: IncidentEvent[] = [];
  const silences = new Silences({ store, clock, metrics });
  const {
    mutedBy = firstReason([(incident, nowMs) => silences.mutedBy(incident, nowMs), inhibition(store)]),
  } = options;
  const announcer = new Announcer({
    store,
    guard,
    clock,
    metrics,
    timing: TEST_TIMING,
    messagesPerHour: 10,
    receivers: audiences.map(({ name }) => name),
    receiversOf: audienceOf(audiences),
    onWritten: () => {},
    ...options,
    mutedBy,
  });
  const clocks = new AgentClocks({ clock, metrics, maxSkewMs: 1000 });
  const recorder = new Recorder({
    store,
    guard,
    clock,
    metrics,
    announcer,
    quietMs: 600_000,
    toStore: (_agent, report) => report,
    inOurTime: (agent, anomaly) => clocks.inOurTime(agent, anomaly),
    maxQuietMs: 28_800_000,
    compareClocks: storeClock.compare,
    onCommit: (happened) => events.push(...happened),
    ...options,
    limits: { ...TEST_LIMITS, ...options.limits },
  });
  const enrolments = new Enrolments({
    store,
    clock,
    token: undefined,
    enrolledOnly: false,
    tokenLifeMs: 3_600_000,
    maxAgents: 10,
  });
  const stories = new OwnStories({ store, recorder, clock, quietMs: 600_000 });
  const ownLimits = new LimitWatch({ stories, guard, clock });
  const fleet = new FleetWatch({
    store,
    guard,
    stories,
    clock,
    missingAfterMs: 60_000,
    stoppedAfterMs: 3_600_000,
  });
  const told = {
    store,
    health,
    guard,
    announcer,
    recorder,
    clocks,
    enrolments,
    stories,
    ownLimits,
    fleet,
    events,
  };
  const refusals = new Refusals({ clock, metrics, logger });
  return { clock: moved, storeClock, metrics, logger, refusals, silences, mutedBy, ...told };
}

export function sampleIncident(changes: Partial<Incident> = {}): Incident {
  return {
    id: 'INC-1',
    fingerprint: '["contact","10.77.9.66","object-manager"]',
    state: 'open',
    severity: 'critical',
    kind: 'unexpected-peer',
    title: 'Unexpected peer 10.77.9.66 talks to the object manager on w1',
    breadth: 'story',
    peer: '10.77.9.66',
    peerCount: 1,
    service: 'object-manager',
    serviceCount: 1,
    nodes: ['w1'],
    nodeCount: 1,
    anomalyCount: 1,
    count: 3,
    bytes: 4200,
    first: '2026-11-23T09:42:10.208000000Z',
    last: '2026-11-23T09:42:12.260000000Z',
    message: '10.77.9.66 is no member and no rule allows it',
    highlights: [],
    tier: 0,
    openedMs: Date.UTC(2026, 10, 23, 9, 42, 13),
    isAlone: true,
    reopenedMs: null,
    reopenCount: 0,
    lastReportMs: Date.UTC(2026, 10, 23, 9, 42, 13),
    quietMs: 600_000,
    acknowledgedMs: null,
    resolvedMs: null,
    resolvedBy: null,
    mergedInto: null,
    ...changes,
  };
}

export function sampleNotification(changes: Partial<Notification> = {}): Notification {
  return {
    id: 'msg_00000000-0000-4000-8000-000000000001',
    receiver: 'ops',
    type: 'opened',
    incident: sampleIncident(),
    heldBack: 0,
    createdMs: Date.UTC(2026, 10, 23, 9, 42, 13),
    ...changes,
  };
}
