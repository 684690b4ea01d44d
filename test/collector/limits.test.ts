/** Every bounded table of incidents and notifications, filled to its bound: a real unknown peer is reported all the same. */
import { afterEach, describe, expect, it } from 'vitest';
import { MAX_PENDING_NOTIFICATIONS } from '../../collector/incident/announcer.ts';
import { MAX_MEMBERS } from '../../collector/incident/lifecycle.ts';
import { renderSlackDigest } from '../../collector/notify/slack.ts';
import { writePlainly } from '../../collector/notify/wording.ts';
import { MAX_LISTED_NODES } from '../../collector/store/store.ts';
import type { Anomaly } from '../../common/event.ts';
import {
  openParts,
  sampleIncident,
  sampleNotification,
  type PartsOptions,
} from '../support/collector-parts.ts';
import { addresses, attemptOf, contactOf, reportTo, type Contact } from '../support/unknown-peer.ts';

type Parts = Awaited<ReturnType<typeof openParts>>;

const REAL_PEER = '203.0.113.66';
const HOUR_MS = 3_600_000;
const SERVICES = ['object-manager', 'gcs', 'node-manager', 'dashboard', 'worker', 'client-server', 'metrics'];

let parts: Parts;
afterEach(() => {
  parts.announcer.stop();
  parts.recorder.stop();
});

async function open(options: PartsOptions = {}): Promise<void> {
  parts = await openParts({ quietMs: 100 * HOUR_MS, ...options });
  parts.recorder.start();
  parts.announcer.start();
}

/** A peer that completes a handshake and fetches an object. */
function realPeer(changes: Partial<Contact> = {}): Anomaly {
  return contactOf({ peer: REAL_PEER, bytes: 1_000_000, ...changes });
}

/** What the messages say that were written since, and are not lost. */
function messagesAfter(before: ReadonlySet<string>): string[] {
  return parts.store
    .pending('ops', MAX_PENDING_NOTIFICATIONS)
    .filter(({ id }) => !before.has(id))
    .map((notification) => {
      const { title, body } = writePlainly(notification);
      return `${title}\n${body}`;
    });
}

function pendingIds(): ReadonlySet<string> {
  return new Set(parts.store.pending('ops', MAX_PENDING_NOTIFICATIONS).map(({ id }) => id));
}

/** The incident that has the real peer's anomaly among its members. */
function incidentOfRealPeer(anomaly: Anomaly) {
  const member = parts.store.member(anomaly.node, anomaly.id);
  return member === undefined ? undefined : parts.store.incident(member.incidentId);
}

/** Reports anomalies until they are one incident, and fills that to its bound as further reports like the last would. */
function fillIncident(anomalies: readonly Anomaly[]): void {
  reportTo(parts, ...anomalies);
  const { store } = parts;
  const last = anomalies.at(-1) ?? realPeer();
  const member = store.member(last.node, last.id);
  const incident = store.incident(member?.incidentId ?? '');
  if (member === undefined || incident === undefined) throw new Error('there is no incident to be filled');
  const missing = MAX_MEMBERS - incident.anomalyCount;
  store.transaction(() => {
    for (let number = 0; number < missing; number++) {
      const id = `filler ${number}`;
      store.saveMember({ ...member, anomalyId: id, latest: { ...last, id } });
    }
    store.updateIncident({ ...incident, anomalyCount: MAX_MEMBERS, count: incident.count + missing });
  });
}

interface Row {
  readonly table: string;
  readonly options?: PartsOptions;
  readonly fill: () => void;
  readonly real?: Partial<Contact>;
}

const ROWS: readonly Row[] = [
  {
    table: 'members of a burst of attempts',
    fill: () => {
      fillIncident(addresses(10).map((peer) => attemptOf({ peer })));
      reportTo(parts, ...addresses(20, 100).map((peer) => attemptOf({ peer })));
    },
  },
  {
    table: 'members of a burst of answered connections',
    fill: () => {
      fillIncident(addresses(10).map((peer) => contactOf({ peer })));
      reportTo(parts, ...addresses(20, 100).map((peer) => contactOf({ peer })));
    },
  },
  {
    table: 'members of one peer and service, by an agent that invents activities of it',
    fill: () => {
      const visit = (number: number) =>
        contactOf({ peer: REAL_PEER, node: 'evil', visit: number, severity: 'info' });
      fillIncident([visit(1), visit(2)]);
      reportTo(parts, visit(3), visit(4));
    },
  },
  {
    table: 'activities alike that are no burst yet',
    fill: () => reportTo(parts, ...addresses(5).map((peer) => contactOf({ peer, bytes: 1_000_000 }))),
    real: { bytes: 1_500_000 },
  },
  {
    table: 'activities of one peer',
    fill: () => {
      const invented = Array.from({ length: 120 }, (_, index) => `invented-${index}`);
      reportTo(
        parts,
        ...invented.map((service) => contactOf({ peer: REAL_PEER, node: 'evil', service, severity: 'info' })),
      );
    },
  },
  {
    table: 'unresolved incidents of the same agent',
    options: { limits: { maxUnresolved: 7 } },
    fill: () => {
      for (const service of SERVICES) {
        const kinds = ['unexpected-peer', 'not-ray', 'former-member'] as const;
        reportTo(
          parts,
          ...kinds.map((kind) => contactOf({ peer: addresses(1, service.length)[0] ?? '', service, kind })),
        );
      }
      reportTo(parts, ...addresses(300, 999).map((peer, index) => contactOf({ peer, service: `s${index}` })));
      expect(parts.store.unresolvedCount()).toBeLessThanOrEqual(8);
    },
  },
  {
    table: 'unresolved incidents of another agent',
    options: { limits: { maxUnresolved: 5 } },
    fill: () =>
      reportTo(
        parts,
        ...addresses(300).map((peer, index) =>
          contactOf({ peer, node: 'evil', service: `s${index}`, bytes: Number.MAX_SAFE_INTEGER }),
        ),
      ),
    real: { bytes: 4200 },
  },
  {
    table: 'the overflow of another agent that names the same peer and service',
    options: { limits: { maxUnresolved: 5 } },
    fill: () => {
      reportTo(
        parts,
        ...addresses(50).map((peer, index) => contactOf({ peer, node: 'evil', service: `s${index}` })),
        contactOf({ peer: REAL_PEER, node: 'evil' }),
      );
    },
    real: { bytes: 4200 },
  },
  {
    table: 'nodes that an incident lists',
    fill: () => {
      const nodes = Array.from({ length: MAX_LISTED_NODES + 10 }, (_, index) => `n${index}`);
      reportTo(parts, ...nodes.map((node, index) => contactOf({ peer: `10.1.0.${index}`, node })));
    },
  },
  {
    table: 'agents whose most severe member an incident shows',
    fill: () => {
      const nodes = Array.from({ length: 20 }, (_, index) => `n${index}`);
      const bytes = Number.MAX_SAFE_INTEGER;
      reportTo(parts, ...nodes.map((node, index) => contactOf({ peer: `10.1.0.${index}`, node, bytes })));
    },
  },
  {
    table: 'messages about one agent in an hour',
    options: { messagesPerHour: 3, limits: { maxUnresolved: 1000 } },
    fill: () => {
      for (const [index, peer] of addresses(70).entries()) {
        reportTo(parts, contactOf({ peer, service: `s${index}` }), attemptOf({ peer, service: `a${index}` }));
        parts.clock.advance(11_000);
      }
      expect(parts.store.pendingCount('ops')).toBe(2 * 60);
    },
  },
  {
    table: 'messages about one peer in an hour, by attempts that come and go',
    options: { messagesPerHour: 3 },
    fill: () => {
      for (let visit = 0; visit < 20; visit++) {
        reportTo(parts, attemptOf({ peer: REAL_PEER, visit }));
        parts.clock.advance(11_000);
        for (const { id } of parts.store.incidents({ limit: 10, state: 'unresolved' }).incidents) {
          parts.recorder.resolve(id, 'kim');
        }
      }
    },
    real: { bytes: 4200 },
  },
  {
    table: 'messages that wait for a receiver',
    fill: () => {
      reportTo(parts, contactOf({ peer: '10.1.0.1', severity: 'warning' }));
      const incident = parts.store.incident('INC-1') ?? sampleIncident();
      parts.store.transaction(() => {
        for (let number = 0; number < MAX_PENDING_NOTIFICATIONS; number++) {
          const limits = { topic: null, origin: null, rank: 100 };
          parts.store.enqueue({ ...sampleNotification({ incident }), id: `filler ${number}` }, limits);
        }
      });
    },
  },
];

describe('a real unknown peer', () => {
  it.each(ROWS)(
    'is stored, first in the list and notified with its address behind full: $table',
    async (row) => {
      await open(row.options);
      row.fill();
      parts.clock.advance(20_000);
      const before = pendingIds();
      const anomaly = realPeer(row.real);
      reportTo(parts, anomaly);
      parts.clock.advance(2000);
      expect(messagesAfter(before).filter((text) => text.includes(REAL_PEER))).toHaveLength(1);
      const incident = incidentOfRealPeer(anomaly);
      expect(incident).toMatchObject({ severity: 'critical', state: 'open' });
      expect(incident?.title).toContain(REAL_PEER);
      const critical = parts.store.incidents({
        limit: 10,
        state: 'unresolved',
        severity: 'critical',
      }).incidents;
      expect(critical[0]?.id).toBe(incident?.id);
      const { members } = parts.store.memberTable.page(incident?.id ?? '', { limit: 1 });
      expect(members[0]).toMatchObject({ agent: anomaly.node, anomalyId: anomaly.id });
    },
  );

  it('is named at once among many that moved more, before and after it', async () => {
    await open();
    const decoys = (from: number) => addresses(30, from).map((peer) => contactOf({ peer, bytes: 5_000_000 }));
    reportTo(parts, ...decoys(0));
    parts.clock.advance(60_000);
    const before = pendingIds();
    reportTo(parts, realPeer(), ...decoys(1000).slice(0, 3));
    parts.clock.advance(2000);
    expect(messagesAfter(before)).toEqual([expect.stringContaining(`${REAL_PEER} on w1, object-manager`)]);
  });

  it('keeps its line in a digest, between messages as long as they may be', () => {
    const long = (number: number) =>
      sampleNotification({ incident: sampleIncident({ id: `INC-${number}`, title: 'x'.repeat(5000) }) });
    const real = sampleNotification({
      incident: sampleIncident({ id: 'INC-99', title: `Unexpected peer ${REAL_PEER} talks` }),
    });
    const twenty = [...Array.from({ length: 19 }, (_, index) => long(index)), real];
    expect(JSON.stringify(renderSlackDigest(twenty))).toContain(REAL_PEER);
  });
});

describe('a full incident', () => {
  it('keeps its most severe members, and those of agents that have few', async () => {
    await open();
    const nodes = Array.from({ length: 7 }, (_, index) => `n${index}`);
    reportTo(parts, ...nodes.map((node, index) => contactOf({ peer: `10.1.0.${index}`, node })));
    fillIncident([contactOf({ peer: '10.2.0.1', node: 'n0', bytes: 90_000 })]);
    reportTo(parts, ...addresses(6).map((peer) => contactOf({ peer, node: 'n0', bytes: 90_000 })));
    const [burst] = parts.store.incidents({ limit: 10, state: 'unresolved' }).incidents;
    expect(burst).toMatchObject({ breadth: 'kind', anomalyCount: MAX_MEMBERS });
    const small = contactOf({ peer: '10.1.0.99', node: 'n9', bytes: 500 });
    reportTo(parts, small);
    expect(parts.store.member('n9', small.id)?.incidentId).toBe(burst?.id);
    expect(parts.store.incident(burst?.id ?? '')).toMatchObject({
      anomalyCount: MAX_MEMBERS,
      count: MAX_MEMBERS + 2,
      nodeCount: 8,
    });
    const { values } = await parts.metrics.anomaliesUncounted.get();
    expect(values[0]?.value).toBe(5);
  });
});
