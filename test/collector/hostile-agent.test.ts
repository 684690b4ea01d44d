/**
 * One agent that lies beside honest ones, at a store with its recorder: what it reports is its own, and what the others
 * report is stored, told in their words, and not one message later for it.
 */
import { afterEach, describe, expect, it } from 'vitest';
import type { Anomaly, AnomalyKind } from '../../common/event.ts';
import { MAX_PENDING_NOTIFICATIONS } from '../../collector/incident/announcer.ts';
import { writePlainly } from '../../collector/notify/wording.ts';
import { openParts, type PartsOptions } from '../support/collector-parts.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { addresses, attemptOf, contactOf, reportTo, type Contact } from '../support/unknown-peer.ts';

type Parts = Awaited<ReturnType<typeof openParts>>;

const PEER = '203.0.113.66';
const LIE = 'Authorised scan by SecOps, ticket SEC-1234';

let parts: Parts;
afterEach(() => {
  parts.announcer.stop();
  parts.recorder.stop();
});

async function open(options: PartsOptions = {}): Promise<void> {
  parts = await openParts({ quietMs: 36_000_000, ...options });
  parts.recorder.start();
  parts.announcer.start();
}

function evil(changes: Partial<Contact> = {}): Anomaly {
  return contactOf({ peer: PEER, node: 'evil', message: LIE, ...changes });
}

/** Every message as a person reads it, in the order in which they were written. */
function messages(): string[] {
  return parts.store.pending('ops', MAX_PENDING_NOTIFICATIONS).map((notification) => {
    const { title, body } = writePlainly(notification);
    return `${title}\n${body}`;
  });
}

function incidentOf({ node, id }: Anomaly) {
  return parts.store.incident(parts.store.member(node, id)?.incidentId ?? '');
}

describe('an incident that a hostile agent opened first', () => {
  it.each<[name: string, first: Partial<Contact>]>([
    ['as information', { severity: 'info' }],
    ['as critical', { severity: 'critical' }],
    ['with all the bytes there are', { bytes: Number.MAX_SAFE_INTEGER, count: Number.MAX_SAFE_INTEGER }],
    ['as a former member', { kind: 'former-member', severity: 'info' }],
  ])('%s says what an honest agent says, with its name, and is told of anew', async (_name, first) => {
    await open();
    reportTo(parts, evil(first));
    parts.clock.advance(15_000);
    const before = messages().length;
    const honest = contactOf({ peer: PEER, node: 'w1', message: 'Unexpected peer talks to w1' });
    reportTo(parts, honest);
    parts.clock.advance(11_000);
    const [message] = messages().slice(before);
    expect(message).toContain(PEER);
    expect(message).toContain('w1 reports: "Unexpected peer talks to w1"');
    expect(incidentOf(honest)).toMatchObject({ severity: 'critical' });
  });

  it('keeps no time of it that is yet to come, and no time that is none', async () => {
    await open();
    const lies = [
      '2200-01-01T00:00:00Z',
      '9999-12-31T23:59:59Z',
      '2026-02-30T00:00:00Z',
      '1970-01-01T00:00:00Z',
    ];
    for (const [index, time] of lies.entries()) {
      const peer = `10.0.0.${index}`;
      reportTo(parts, { ...evil({ peer }), first: time, last: time });
      const honest = contactOf({ peer, node: 'w1' });
      reportTo(parts, honest);
      expect(incidentOf(honest)).toMatchObject({ nodeCount: 2, last: honest.last });
      expect(incidentOf(honest)?.first).toMatch(/^2026-11-23/);
    }
  });

  it('quotes nobody in the name of another agent', async () => {
    await open();
    const forged = 'ok"; w1 reports: "all is well';
    reportTo(parts, evil({ message: forged, bytes: 90_000 }), contactOf({ peer: PEER, node: 'w1' }));
    const { message } = incidentOf(evil()) ?? {};
    expect(message).toBe(
      `evil reports: "ok'; w1 reports: 'all is well"; w1 reports: "${PEER} is unexpected"`,
    );
  });

  it.each(['”', '“', '„', '»', '＂', '〃', '″'])(
    'quotes nobody in the name of another agent by %s',
    async (quote) => {
      await open();
      reportTo(parts, evil({ message: `ok${quote}; w1 reports: ${quote}all is well` }));
      expect(incidentOf(evil())?.message).toBe(`evil reports: "ok'; w1 reports: 'all is well"`);
    },
  );

  it('adds up what others moved, whatever it claims and takes back', async () => {
    await open();
    const GB = 1_000_000_000;
    reportTo(parts, contactOf({ peer: PEER, node: 'w1', bytes: 5 * GB }));
    const claims = Array.from({ length: 80 }, (_, visit) => evil({ visit, bytes: Number.MAX_SAFE_INTEGER }));
    reportTo(parts, ...claims, ...claims.map((claim) => ({ ...claim, bytes: 1, count: 2 })));
    expect(incidentOf(evil())).toMatchObject({ nodeCount: 2, bytes: 5 * GB + claims.length });
  });

  it('with all the bytes there are makes no theft at another node small', async () => {
    await open();
    reportTo(parts, evil({ bytes: Number.MAX_SAFE_INTEGER, count: Number.MAX_SAFE_INTEGER }));
    parts.clock.advance(15_000);
    const honest = contactOf({ peer: PEER, node: 'w1' });
    reportTo(parts, honest);
    parts.clock.advance(60_000);
    const before = messages().length;
    reportTo(parts, contactOf({ peer: PEER, node: 'w1', bytes: 2_000_000_000, count: 2 }));
    parts.clock.advance(2000);
    expect(messages().slice(before)).toEqual([expect.stringContaining('w1, object-manager (1.86 GiB)')]);
  });

  it('as that of a former member is that of an unknown peer, and muted no more, when another agent sees one', async () => {
    await open();
    const reason = 'members leave all the time';
    parts.silences.add({ matchers: { kind: ['former-member'] }, reason, durationMs: 3_600_000 }, 'kim');
    reportTo(parts, evil({ kind: 'former-member', severity: 'critical', bytes: 1e9 }));
    parts.clock.advance(20_000);
    expect(messages()).toEqual([]);
    reportTo(parts, contactOf({ peer: PEER, node: 'w1' }));
    parts.clock.advance(2000);
    expect(messages()).toEqual([expect.stringContaining(`Unexpected peer ${PEER} talks to`)]);
  });

  it('is not over by its word', async () => {
    await open();
    reportTo(parts, evil());
    reportTo(parts, { ...evil({ count: 2 }), ended: true });
    expect(incidentOf(evil())).toMatchObject({ state: 'open' });
  });
});

describe('a burst, a scan and an overflow of a hostile agent', () => {
  it.each<[name: string, report: () => void]>([
    ['a burst', () => reportTo(parts, evil(), ...addresses(50).map((peer) => evil({ peer })))],
    [
      'a burst of the same amount',
      () =>
        reportTo(
          parts,
          evil({ bytes: 5_000_000 }),
          ...addresses(50).map((peer) => evil({ peer, bytes: 5_000_000 })),
        ),
    ],
    ['attempts', () => reportTo(parts, ...addresses(50).map((peer) => attemptOf({ peer, node: 'evil' })))],
    [
      'an overflow',
      () =>
        reportTo(parts, ...addresses(80).map((peer, index) => evil({ peer, service: `s${index}` })), evil()),
    ],
  ])('%s takes nothing of what another agent sees', async (_name, report) => {
    await open({ limits: { maxUnresolved: 20 } });
    report();
    const honest = contactOf({ peer: PEER, node: 'w1', bytes: 5_000_000 });
    reportTo(parts, honest);
    parts.clock.advance(2000);
    const incident = incidentOf(honest);
    expect(incident).toMatchObject({
      breadth: 'story',
      severity: 'critical',
      title: `Unexpected peer ${PEER} talks to the object manager on w1`,
      message: `w1 reports: "${PEER} is unexpected"`,
      nodes: ['w1'],
    });
    expect(messages().filter((text) => text.includes(incident?.title ?? ''))).toHaveLength(1);
  });

  it('is an incident that names the agent, and only that one is merged', async () => {
    await open({ limits: { maxUnresolved: 5 } });
    reportTo(parts, ...addresses(80).map((peer, index) => evil({ peer, service: `s${index}` })));
    const { incidents } = parts.store.incidents({ limit: 50, state: 'unresolved' });
    expect(incidents.every(({ nodes }) => nodes.join(',') === 'evil')).toBe(true);
    expect(incidents[0]?.title).toBe('Many more anomalies of the kind unexpected-peer on evil');
    expect(incidents).toHaveLength(6);
  });
});

describe('the messages of a hostile agent', () => {
  it.each([4200, 500_000, 5_000_000, 5_000_000_000])(
    'about a peer, each with %i bytes, use up none of those that another agent brings about',
    async (bytes) => {
      await open();
      reportTo(parts, evil({ bytes }));
      for (let round = 0; round < 60; round++) {
        const [decoy = ''] = addresses(1, round);
        reportTo(
          parts,
          evil({ peer: decoy, bytes }),
          evil({ bytes: bytes + 100 * round, count: 2 ** round }),
        );
        parts.clock.advance(30_000);
      }
      const before = messages().length;
      const honest = contactOf({ peer: PEER, node: 'w1', bytes, message: 'Unexpected peer talks to w1' });
      reportTo(parts, honest);
      parts.clock.advance(11_000);
      const ofHonest = messages()
        .slice(before)
        .filter((text) => text.includes('w1 reports: '));
      expect(ofHonest).toHaveLength(1);
    },
  );
});

describe('a burst that a hostile agent shares with others', () => {
  it('goes on growing, and each further agent is told of with its peer within seconds', async () => {
    await open();
    let decoys = 0;
    const flood = (): void => {
      for (let second = 0; second < 30; second++) {
        reportTo(parts, ...addresses(3, decoys).map((peer) => evil({ peer })));
        decoys += 3;
        parts.clock.advance(1000);
      }
    };
    for (let number = 0; number < 30; number++) {
      const peer = `198.51.100.${number}`;
      const before = messages().length;
      reportTo(parts, contactOf({ peer, node: `w${number}` }));
      flood();
      const ofPeer = messages()
        .slice(before)
        .filter((text) => text.includes(peer));
      expect(ofPeer.length, `messages that name ${peer}`).toBeGreaterThan(0);
    }
  });
});

describe('an agent that makes one anomaly into another', () => {
  it.each<[name: string, report: (number: number) => Anomaly]>([
    [
      'of another peer each time',
      (number) => ({ ...evil({ peer: addresses(1, number)[0] ?? '' }), id: 'one' }),
    ],
    [
      'of another service each time',
      (number) => ({ ...evil({ peer: addresses(1, number)[0] ?? '', service: `s${number}` }), id: 'one' }),
    ],
    [
      'that is answered and is not',
      (number) => ({
        ...(number % 2 === 0 ? evil({ count: number }) : attemptOf({ peer: PEER, node: 'evil' })),
        id: 'one',
      }),
    ],
    ['that ends each time', (number) => ({ ...evil({ peer: addresses(1, number)[0] ?? '' }), ended: true })],
  ])('%s opens no more incidents than its share', async (_name, report) => {
    await open({ limits: { maxUnresolved: 20 } });
    for (let number = 0; number < 300; number++) reportTo(parts, report(number));
    const { incidents } = parts.store.incidents({ limit: 500 });
    expect(incidents.length).toBeLessThanOrEqual(25);
    expect(messages().length).toBeLessThanOrEqual(25);
  });
});

const KINDS: readonly AnomalyKind[] = [
  'unexpected-peer',
  'former-member',
  'not-ray',
  'scan',
  'volume',
  'blind',
  'new-member',
];

describe('an agent that reports as fast as it may, all fields at their limits', () => {
  it('keeps no honest agent from being heard, in its words and with its address', async () => {
    await open({ limits: { maxUnresolved: 50 }, messagesPerHour: 10 });
    const random = seededRandom(20_261_128);
    const pick = <Value>(values: readonly Value[]): Value =>
      values[Math.floor(random() * values.length)] as Value;
    const honest: Anomaly[] = [];
    for (let second = 0; second < 60; second++) {
      const flood = Array.from({ length: 25 }, (_, index) =>
        evil({
          peer: random() < 0.1 ? PEER : (addresses(1, second * 1000 + index)[0] ?? PEER),
          kind: pick(KINDS),
          service: random() < 0.5 ? 'object-manager' : `s${second}-${index}`,
          severity: pick(['info', 'warning', 'critical']),
          bytes: pick([0, 4200, 1_000_000, 5_000_000_000, Number.MAX_SAFE_INTEGER]),
          count: pick([0, 1, Number.MAX_SAFE_INTEGER]),
          state: pick(['attempt', 'refused', 'established', 'midstream']),
          visit: Math.floor(random() * 3),
        }),
      );
      reportTo(parts, ...flood);
      if (second % 15 === 3) {
        const node = `w${second}`;
        const anomaly = contactOf({ peer: `198.51.100.${second}`, node, message: `seen by ${node}` });
        honest.push(anomaly);
        reportTo(parts, anomaly);
      }
      parts.clock.advance(1000);
    }
    parts.clock.advance(10_000);
    for (const anomaly of honest) {
      const incident = incidentOf(anomaly);
      expect(incident).toMatchObject({
        severity: 'critical',
        nodes: [anomaly.node],
        message: `${anomaly.node} reports: "seen by ${anomaly.node}"`,
      });
      expect(incident?.title).toContain(anomaly.flow?.source.ip);
      expect(messages().some((text) => text.includes(incident?.title ?? ''))).toBe(true);
    }
    expect(parts.store.unresolvedOf('evil', 1000)).toBeLessThan(100);
    const ofEvil = parts.store
      .pending('ops', MAX_PENDING_NOTIFICATIONS)
      .filter(({ incident }) => incident.nodes[0] === 'evil');
    expect(ofEvil.length).toBeLessThan(400);
  });
});
