import { beforeEach, describe, expect, it } from 'vitest';
import type { ActivityPhase } from '../../../agent/detect/activities.ts';
import { MAX_ATTEMPT_ACTIVITIES } from '../../../agent/detect/attempts.ts';
import type { Standing } from '../../../agent/flow/standing.ts';
import { MAX_PENDING, UnexpectedDetector } from '../../../agent/detect/unexpected.ts';
import type { Judged } from '../../../agent/detect/wording.ts';
import { parseAddress } from '../../../common/address.ts';
import { anomalySchema, type Anomaly } from '../../../common/event.ts';
import { describeFake, FakeFlow, manyPeers } from '../../support/fake-flow.ts';

const START = Date.UTC(2026, 10, 23, 12) / 1000;
const NODE = '10.0.0.1:43800';
const STRANGER = '192.0.2.9';
const GRACE_MS = 10_000;
const JUDGED: Judged = {
  verdict: { allowed: false, rule: null, reason: 'no-rule' },
  toMember: true,
  fromMember: false,
};

const FORMER: Judged = { ...JUDGED, verdict: { ...JUDGED.verdict, reason: 'former-member' } };

interface Details extends Partial<Judged> {
  readonly isPending?: boolean;
  readonly service?: string;
}

describe('UnexpectedDetector', () => {
  let reports: (Anomaly & { phase: ActivityPhase })[];
  let detector: UnexpectedDetector<undefined>;
  let second: number;
  /** Of the first connection of a pending activity; undefined where it is allowed by now. */
  let judgedAgain: Judged | undefined;

  beforeEach(() => {
    reports = [];
    judgedAgain = JUDGED;
    second = START;
    let ids = 0;
    detector = new UnexpectedDetector({
      node: 'w1',
      createId: () => `a${++ids}`,
      report: (anomaly, phase) => reports.push({ ...anomalySchema.parse(anomaly), phase }),
      record: () => true,
      firstEnded: () => {},
      describe: describeFake,
      graceMs: GRACE_MS,
      confirmed: () => {},
      dropped: () => {},
      judgeAgain: () => judgedAgain,
    });
  });

  function connect(from: string, standing: Standing, details: Details = {}): FakeFlow {
    const flow = new FakeFlow(from, NODE, second);
    flow.state = standing === 'attempt' ? 'attempt' : 'established';
    add(flow, standing, details);
    return flow;
  }

  function add(
    flow: FakeFlow,
    standing: Standing,
    { isPending, service = 'object-manager', ...judged }: Details = {},
  ): void {
    const pendingSinceMs = isPending === true ? second * 1000 : undefined;
    detector.add({
      ...JUDGED,
      ...judged,
      flow: flow.flow,
      service,
      standing,
      timeMs: second * 1000,
      pendingSinceMs,
    });
  }

  function tick(seconds = 1): void {
    for (let passed = 0; passed < seconds; passed++) detector.tick(++second * 1000);
  }

  function of(peer: string): (string | undefined)[][] {
    return reports
      .filter(({ flow }) => flow?.source.ip === peer)
      .map(({ phase, severity }) => [phase, severity]);
  }

  it.each([
    ['an unknown peer', {}, 'unexpected-peer'],
    [
      'a former member',
      { verdict: { ...JUDGED.verdict, reason: 'former-member' as const } },
      'former-member',
    ],
    ['an unexpected destination', { toMember: false, fromMember: true }, 'unexpected-destination'],
  ])('reports an attempt of %s as a warning', (_name, judged, kind) => {
    connect(`${STRANGER}:5000`, 'attempt', judged);
    expect(reports).toMatchObject([{ kind, severity: 'warning', flow: { source: { ip: STRANGER } } }]);
    expect(reports[0]?.message).toMatch(/ tried to connect to object-manager .*, without an answer \(/);
  });

  it('says that an attempt was refused', () => {
    const flow = new FakeFlow(`${STRANGER}:5000`, NODE, second);
    flow.state = 'refused';
    add(flow, 'attempt');
    expect(reports[0]?.message).toBe(
      `Unexpected peer ${STRANGER} tried to connect to object-manager port 43800 of 10.0.0.1, refused (no rule allows it)`,
    );
  });

  it('reports as critical, at once, who was answered after its attempts', () => {
    connect(`${STRANGER}:5000`, 'attempt');
    connect(`${STRANGER}:5001`, 'attempt');
    const flow = connect(`${STRANGER}:5002`, 'attempt');
    add(flow, 'answered');
    expect(of(STRANGER)).toEqual([
      ['opened', 'warning'],
      ['opened', 'critical'],
    ]);
    add(flow, 'attempt');
    expect(reports).toHaveLength(2);
  });

  it('sums up the attempts of all but the first peers, in one warning', () => {
    for (let index = 0; index < MAX_ATTEMPT_ACTIVITIES + 500; index++) connect(manyPeers(index), 'attempt');
    const source = parseAddress('198.51.100.7');
    if (source === undefined) throw new Error('no address');
    for (let index = 0; index < 400; index++) detector.countAttempt(source, 43_800);
    expect(reports).toHaveLength(MAX_ATTEMPT_ACTIVITIES);
    tick();
    expect(reports.at(-1)).toMatchObject({
      phase: 'opened',
      kind: 'connection-attempts',
      severity: 'warning',
      flow: null,
      count: 900,
      attempts: {
        sources: [{ prefix: '198.51.100.0/24', count: 400 }, {}, {}, {}],
        ports: [{ port: 43_800, count: 900 }],
      },
      message:
        'Node w1 saw 900 connection attempts without an answer to port 43800, most from 198.51.100.0/24 (400), 172.0.1.0/24 (256), 172.0.0.0/24 (156)',
    });
  });

  it('repeats the sum while it grows, at most each ten seconds, and ends it a minute after', () => {
    for (let index = 0; index < MAX_ATTEMPT_ACTIVITIES; index++) connect(manyPeers(index), 'attempt');
    const sums = (): string[] =>
      reports
        .filter(({ kind }) => kind === 'connection-attempts')
        .map(({ phase, count }) => `${phase} ${count}`);
    for (let passed = 0; passed < 25; passed++) {
      connect(`${STRANGER}:${passed + 1}`, 'attempt');
      tick();
    }
    expect(sums()).toEqual(['opened 1', 'growing 11', 'growing 21']);
    tick(70);
    expect(sums().slice(3)).toEqual(['growing 25', 'over 25']);
    expect(
      new Set(reports.filter(({ kind }) => kind === 'connection-attempts').map(({ id }) => id)).size,
    ).toBe(1);
  });

  it('reports the final sum at the end', () => {
    const source = parseAddress(STRANGER);
    if (source === undefined) throw new Error('no address');
    detector.countAttempt(source, 43_800);
    detector.end(second * 1000);
    expect(reports.map(({ kind, phase }) => [kind, phase])).toEqual([
      ['connection-attempts', 'opened'],
      ['connection-attempts', 'over'],
    ]);
  });

  it('lets so many be pending and no more: whoever comes beyond is reported at once', () => {
    for (let index = 0; index < MAX_PENDING; index++)
      connect(manyPeers(index), 'answered', { isPending: true });
    expect([reports.length, detector.pendingCount]).toEqual([0, MAX_PENDING]);
    connect(`${STRANGER}:5000`, 'answered', { isPending: true });
    expect(of(STRANGER)).toEqual([['opened', 'critical']]);
    tick(GRACE_MS / 1000);
    expect([reports.length, detector.pendingCount]).toEqual([MAX_PENDING + 1, 0]);
  });

  it('reports who is pending at the end of the grace period, whoever fills the table meanwhile', () => {
    connect(`${STRANGER}:5000`, 'answered', { isPending: true });
    for (let index = 0; index < 12_000; index++) connect(manyPeers(index), 'answered');
    expect(of(STRANGER)).toEqual([]);
    tick(GRACE_MS / 1000);
    expect(of(STRANGER)).toEqual([['opened', 'critical']]);
  });

  it.each([
    ['a former member at the GCS', FORMER, 'gcs', [0, 1]],
    ['a former member at another service', FORMER, 'object-manager', [1, 1]],
    ['an unknown peer at the GCS', JUDGED, 'gcs', [0, 1]],
    ['an unknown peer at another service', JUDGED, 'dashboard', [1, 1]],
    ['a member that calls a former one', { ...FORMER, fromMember: true, toMember: false }, 'gcs', [1, 1]],
  ])('waits until Ray can list who joins, and for nobody else: %s', (_name, judged, service, expected) => {
    judgedAgain = judged;
    connect(`${STRANGER}:5000`, 'answered', { ...judged, service, isPending: true });
    const startMs = second * 1000;
    detector.decide({ begunMs: startMs + 1000, result: 'answered' }, startMs + 1000);
    const afterRefresh = reports.length;
    tick(GRACE_MS / 1000);
    expect([afterRefresh, reports.length]).toEqual(expected);
  });

  it.each([
    ['at the dashboard, for its agent asks there', 'gcs', STRANGER, 'dashboard', [0, 2]],
    ['at no other service', 'gcs', STRANGER, 'object-manager', [1, 2]],
    ['at no dashboard that another peer calls', 'gcs', '192.0.2.10', 'dashboard', [1, 2]],
    ['at no dashboard beside another service', 'object-manager', STRANGER, 'dashboard', [2, 2]],
  ])('waits for who may join as well %s', (_name, firstService, peer, service, expected) => {
    connect(`${STRANGER}:5000`, 'answered', { service: firstService, isPending: true });
    connect(`${peer}:5001`, 'answered', { service, isPending: true });
    const startMs = second * 1000;
    detector.decide({ begunMs: startMs + 1000, result: 'answered' }, startMs + 1000);
    const afterRefresh = reports.length;
    tick(GRACE_MS / 1000);
    expect([afterRefresh, reports.length]).toEqual(expected);
  });

  it('reports no former member that is listed again before the grace period ends', () => {
    judgedAgain = FORMER;
    connect(`${STRANGER}:5000`, 'answered', { ...FORMER, service: 'gcs', isPending: true });
    tick(5);
    judgedAgain = undefined;
    detector.decide({ begunMs: second * 1000, result: 'answered' }, second * 1000);
    tick(GRACE_MS / 1000);
    expect(reports).toEqual([]);
  });

  it('never lets an attempt be pending', () => {
    connect(`${STRANGER}:5000`, 'attempt', { isPending: true });
    expect(detector.pendingCount).toBe(0);
    expect(of(STRANGER)).toEqual([['opened', 'warning']]);
  });
});
