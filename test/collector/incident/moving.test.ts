/** Anomalies that move from one incident to another, because what they are has changed. */
import { afterEach, describe, expect, it } from 'vitest';
import { writePlainly } from '../../../collector/notify/wording.ts';
import { openParts } from '../../support/collector-parts.ts';
import { addresses, attemptOf, contactOf, reportTo } from '../../support/unknown-peer.ts';

type Parts = Awaited<ReturnType<typeof openParts>>;

const PEER = '203.0.113.66';

let parts: Parts;
afterEach(() => parts.announcer.stop());

async function open(): Promise<void> {
  parts = await openParts();
  parts.announcer.start();
}

function unresolved() {
  return parts.store.incidents({ limit: 100, state: 'unresolved' }).incidents.toReversed();
}

/** The same activity, attempted and then answered. */
function attempted() {
  return attemptOf({ peer: PEER });
}
function answered(bytes = 4200) {
  return { ...contactOf({ peer: PEER, bytes, count: 2 }), id: attempted().id };
}

describe('an attempt', () => {
  it('that is answered is an incident of its own, which takes the place of the one of the attempt', async () => {
    await open();
    reportTo(parts, attempted());
    expect(unresolved()).toMatchObject([
      {
        severity: 'warning',
        title: `Unknown peer ${PEER} tried to connect to the object manager of w1 (no answer)`,
      },
    ]);
    reportTo(parts, answered());
    expect(unresolved()).toMatchObject([
      {
        id: 'INC-2',
        severity: 'critical',
        count: 2,
        bytes: 4200,
        title: `Unexpected peer ${PEER} talks to the object manager on w1`,
      },
    ]);
    expect(parts.store.incident('INC-1')).toMatchObject({ state: 'resolved', mergedInto: 'INC-2' });
    expect(parts.store.pending('ops', 9).map(({ type, incident }) => `${type} ${incident.id}`)).toEqual([
      'opened INC-2',
    ]);
    reportTo(parts, { ...answered(9000), count: 3 });
    expect(unresolved()).toMatchObject([{ id: 'INC-2', count: 3, bytes: 9000, anomalyCount: 1 }]);
  });

  it('that is answered leaves a burst, with its numbers', async () => {
    await open();
    reportTo(parts, attempted(), ...addresses(9).map((peer) => attemptOf({ peer })));
    expect(unresolved()).toMatchObject([
      { peerCount: 10, title: '10 unknown peers tried to connect to the object manager of w1 (no answer)' },
    ]);
    reportTo(parts, answered());
    expect(unresolved()).toMatchObject([
      { breadth: 'kind', severity: 'warning', anomalyCount: 9, count: 9, bytes: 9 * 74 },
      { breadth: 'story', severity: 'critical', peer: PEER, anomalyCount: 1 },
    ]);
  });

  it('joins no incident of answered connections, nor does it take one back', async () => {
    await open();
    reportTo(parts, ...addresses(9).map((peer) => contactOf({ peer })), attemptOf({ peer: PEER }));
    reportTo(parts, answered());
    reportTo(parts, { ...attempted(), count: 3, bytes: 4300 });
    expect(unresolved().map(({ severity, anomalyCount }) => [severity, anomalyCount])).toEqual([
      ['critical', 10],
    ]);
  });

  it('at many services is a scan of attempts, and what is answered among them is named', async () => {
    await open();
    const services = ['gcs', 'node-manager', 'dashboard', 'worker', 'client-server', 'metrics'];
    reportTo(parts, ...services.map((service) => attemptOf({ peer: PEER, service })));
    reportTo(parts, contactOf({ peer: PEER, bytes: 1_000_000 }));
    expect(unresolved().map(({ title, severity }) => [title, severity])).toEqual([
      [`Unknown peer ${PEER} tried to connect to many services of w1 (no answer)`, 'warning'],
      [`Unexpected peer ${PEER} talks to the object manager on w1`, 'critical'],
    ]);
  });
});

describe('a member of a burst that moves more than the others', () => {
  it('leaves it for each power of ten, and is told of at once', async () => {
    await open();
    const small = contactOf({ peer: PEER });
    reportTo(parts, ...addresses(9).map((peer) => contactOf({ peer })), small);
    expect(unresolved()).toMatchObject([{ peerCount: 10, bytes: 42_000 }]);
    const told = parts.store.pendingCount('ops');
    reportTo(parts, contactOf({ peer: PEER, bytes: 1e9 }));
    expect(unresolved()).toMatchObject([
      { peerCount: 9, anomalyCount: 9, bytes: 9 * 4200 },
      { peer: PEER, bytes: 1e9, severity: 'critical' },
    ]);
    expect(parts.store.pending('ops', 99).slice(told)).toMatchObject([
      { type: 'opened', incident: { peer: PEER, bytes: 1e9 } },
    ]);
  });

  it('is named in a message at once, also below what an object has', async () => {
    await open();
    reportTo(parts, ...addresses(50).map((peer) => contactOf({ peer })));
    parts.clock.advance(15_000);
    const told = parts.store.pendingCount('ops');
    reportTo(parts, contactOf({ peer: PEER, bytes: 50_000 }));
    parts.clock.advance(2000);
    const messages = parts.store.pending('ops', 99).slice(told);
    expect(messages.map((message) => writePlainly(message).body)).toEqual([
      expect.stringContaining(`Most severe: ${PEER} on w1, object-manager (48.8 KiB); `),
    ]);
  });

  it('is in no burst of the others that begins later', async () => {
    await open();
    reportTo(parts, contactOf({ peer: PEER }), contactOf({ peer: PEER, bytes: 1e9, count: 2 }));
    reportTo(parts, ...addresses(20).map((peer) => contactOf({ peer })));
    expect(unresolved()).toMatchObject([
      { peer: PEER, breadth: 'story' },
      { breadth: 'kind', peerCount: 20 },
    ]);
  });

  it('is named before all others of a burst of those that moved as much', async () => {
    await open();
    reportTo(parts, ...addresses(9).map((peer) => contactOf({ peer, bytes: 2_000_000 })));
    reportTo(parts, contactOf({ peer: PEER, bytes: 9_000_000 }));
    expect(unresolved()).toMatchObject([
      { title: `Unexpected peer ${PEER} and 9 more talk to the object manager on w1`, peerCount: 10 },
    ]);
  });

  it('is named in the title of a scan', async () => {
    await open();
    const services = ['gcs', 'node-manager', 'dashboard', 'worker', 'client-server'];
    reportTo(parts, ...services.map((service) => contactOf({ peer: PEER, service })));
    reportTo(parts, contactOf({ peer: PEER, bytes: 1_000_000, node: 'w2' }));
    expect(unresolved()).toMatchObject([
      {
        severity: 'critical',
        title: `${PEER} scans w1 and 1 more node, most data through the object manager on w2`,
      },
    ]);
  });
});

describe('an anomaly that is suddenly about another peer', () => {
  it('is taken for one about that peer', async () => {
    await open();
    const first = contactOf({ peer: '10.0.0.1' });
    reportTo(parts, first, { ...contactOf({ peer: PEER, count: 2 }), id: first.id });
    expect(unresolved()).toMatchObject([{ peer: '10.0.0.1' }, { peer: PEER }]);
  });
});
