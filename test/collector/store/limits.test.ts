/**
 * Every table of the store that one agent, or one user of the API, can make grow: it is filled, and then an honest agent
 * reports a peer that nobody knew. Its incident is opened, told and has its evidence, and what it had before is there.
 */
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { TagValues, toPoint } from '../../../collector/export/influx.ts';
import { Intake } from '../../../collector/ingest/intake.ts';
import { Retention } from '../../../collector/store/retention.ts';
import type { Report } from '../../../common/event.ts';
import { INGEST_PATH, PROTOCOL_VERSION } from '../../../common/protocol.ts';
import { openParts, TEST_EPOCH } from '../../support/collector-parts.ts';
import { runIngest } from '../../support/running-ingest.ts';
import { sampleAnomaly, sampleEvidence, sampleFlowReport } from '../../support/sample-report.ts';

const MIB = 1024 * 1024;
const MAX_AGENTS = 10;
const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

type Filling = Awaited<ReturnType<typeof openFilling>>;

/** A store with room for little, in which an honest agent has an incident with evidence. */
async function openFilling() {
  const parts = await openParts({ limits: { burstSubjects: 100, scanStories: 100 } });
  const { store, recorder, clock } = parts;
  const { url, stop } = await runIngest(parts, { limits: { maxAgents: MAX_AGENTS, maxConnections: 100 } });
  const retention = new Retention({
    ...parts,
    keepMs: 1e12,
    maxReports: 1000,
    maxBytes: 4 * MIB,
    keepAuditMs: 1e12,
  });
  retention.start();
  closers.push(
    () => store.close(),
    () => retention.stop(),
    stop,
  );
  let sequence = 0;
  const report = (agent: string, ...reports: readonly Report[]): void => {
    const numbered = reports.map((report) => ({ sequence: ++sequence, report: { ...report, node: agent } }));
    for (let from = 0; from < numbered.length; from += 500) {
      recorder.record(agent, TEST_EPOCH, numbered.slice(from, from + 500));
    }
  };
  const greet = (name: string, epoch = TEST_EPOCH): number =>
    store.greetAgent({ name, epoch, version: '0.1.0', capture: 'ring' }, clock.now());
  greet('w1');
  report('w1', anomalyOf('w1-old', '10.8.8.1'), sampleEvidence('w1-old'), sampleFlowReport());
  return { ...parts, url, report, greet };
}

function anomalyOf(id: string, peer: string): Report {
  const { flow, ...anomaly } = sampleAnomaly(1);
  if (flow === null) throw new Error('expected a flow');
  return { ...anomaly, id, flow: { ...flow, source: { ...flow.source, ip: peer } } };
}

const times = <Item>(count: number, make: (index: number) => Item): Item[] =>
  Array.from({ length: count }, (_, index) => make(index));
const peerOf = (number: number): string => `10.9.${Math.floor(number / 250)}.${(number % 250) + 1}`;
const uuidOf = (number: number): string => `6f1c2a52-5df2-4c0e-9d8e-${String(number).padStart(12, '0')}`;

/** Says hello; the connection stays. */
async function connect({ url }: Filling, agent: string): Promise<WebSocket> {
  const socket = new WebSocket(url + INGEST_PATH);
  socket.on('error', () => {});
  await once(socket, 'open');
  const hello = { agent, epoch: TEST_EPOCH, version: '0.1.0', capture: 'ring' };
  socket.send(JSON.stringify({ type: 'hello', protocol: PROTOCOL_VERSION, ...hello }));
  await Promise.race([once(socket, 'message'), once(socket, 'close')]);
  return socket;
}

const fillings: [name: string, fill: (filling: Filling) => Promise<void> | void][] = [
  ['reports', ({ report }) => report('w2', ...times(3000, () => sampleFlowReport()))],
  [
    'bytes, with evidence',
    ({ report }) =>
      times(100, (index) =>
        report('w2', anomalyOf(`w2-${index}`, '10.9.9.9'), {
          ...sampleEvidence(`w2-${index}`),
          pcapng: 'A'.repeat(100_000),
        }),
      ).forEach(() => {}),
  ],
  [
    'reports, with one anomaly that goes on',
    ({ report }) => report('w2', ...times(3000, () => anomalyOf('x', '10.9.9.9'))),
  ],
  [
    'members of incidents',
    ({ report }) => report('w2', ...times(1500, (index) => anomalyOf(`w2-${index}`, peerOf(index % 90)))),
  ],
  ['spools of one agent', ({ greet }) => times(100, (index) => greet('w2', uuidOf(index))).forEach(() => {})],
  [
    'spools of the honest agent’s name, where somebody else has it too',
    ({ greet }) => times(10, (index) => greet('w1', uuidOf(index))).forEach(() => {}),
  ],
  [
    'names of agents',
    async (filling) => void (await Promise.all(times(30, (index) => connect(filling, `name-${index}`)))),
  ],
  [
    'messages that were delivered',
    ({ store }) => {
      const [first] = store.pending('ops', 1);
      if (first === undefined) throw new Error('expected a message');
      const incident = { ...first.incident, id: 'INC-99', message: 'x'.repeat(1000) };
      store.transaction(() => {
        for (let index = 0; index < 3000; index++) {
          const id = `old-${index}`;
          store.enqueue({ ...first, id, incident });
          store.updateDelivery({ id, state: 'delivered', attempts: 1, nextAttemptMs: 0, reason: null });
        }
      });
    },
  ],
  [
    'actions of one user',
    ({ store, clock }) =>
      store.transaction(() => {
        for (let index = 0; index < 20_000; index++) {
          const entry = {
            actor: 'busy',
            action: 'silence.add',
            subject: `SIL-${index}`,
            details: {},
          } as const;
          store.audit.add({ atMs: clock.now(), ...entry });
        }
      }),
  ],
  [
    'heartbeats',
    ({ store, greet, clock }) => {
      greet('w2');
      const counters = Object.fromEntries(
        times(64, (index) => [`counter_${index}`, Number.MAX_SAFE_INTEGER]),
      );
      for (let index = 0; index < 1000; index++) store.saveHeartbeat('w2', counters, clock.now());
    },
  ],
];

describe('a store that is full of', () => {
  it.each(fillings)('%s still takes, tells and keeps what an honest agent reports', async (_name, fill) => {
    const filling = await openFilling();
    const { store, clock, report } = filling;
    await fill(filling);
    // Past the time in which incidents that open together wait for each other.
    clock.advance(400_000);
    report('w1', anomalyOf('w1-new', '10.8.8.2'), sampleEvidence('w1-new'));
    clock.advance(20_000);
    expect(store.isFull({ maxReports: 1000, maxBytes: 4 * MIB })).toBe(false);
    for (const id of ['w1-old', 'w1-new']) {
      expect(store.member('w1', id)?.latest.message).toBe('anomaly 1');
      expect(store.evidence('w1', id)).toBeDefined();
    }
    const told = store.pending('ops', 10_000).map(({ incident }) => incident.peer);
    expect(told).toContain('10.8.8.2');
    expect(store.reportsAfter(0, 10_000).filter(({ agent }) => agent === 'w1')).toHaveLength(5);
  });

  it('names of agents lets in those that it knows, and counts the others', async () => {
    const filling = await openFilling();
    await Promise.all(times(30, (index) => connect(filling, `name-${index}`)));
    expect(filling.store.agentCount()).toBe(MAX_AGENTS);
    const { values } = await filling.metrics.peersRefused.get();
    const refused = values.find(({ labels }) => labels['reason'] === 'too-many-agents');
    expect(refused?.value).toBe(30 + 1 - MAX_AGENTS);
    const known = await connect(filling, 'w1');
    expect(known.readyState).toBe(WebSocket.OPEN);
  });
});

describe('the tags of InfluxDB', () => {
  it('have room for services and nodes that exist, however many are invented', () => {
    const tags = new TagValues();
    const intake = new Intake({
      clock: { now: () => Date.parse(sampleAnomaly(1).last) },
      metrics: { timesCorrected: { inc: () => {} }, servicesUnknown: { inc: () => {} } } as never,
      inOurTime: (_agent, anomaly) => anomaly,
      maxSkewMs: 1000,
      services: [],
      distributedServices: () => new Set(),
    });
    const tagsOf = (service: string, node: string) => {
      const { flow } = sampleFlowReport();
      const plasmawatch = { ...flow.plasmawatch, service };
      const report = intake.toStore(node, { ...sampleFlowReport(), node, flow: { ...flow, plasmawatch } });
      return toPoint({ id: 1, agent: node, sequence: 1, receivedMs: 0, report }, tags)?.tags;
    };
    for (let index = 0; index < 3000; index++)
      expect(tagsOf(`service-${index}`, 'w2')?.['service']).toBe('other');
    expect(tagsOf('dashboard', 'w1')).toMatchObject({ service: 'dashboard', node: 'w1' });
  });
});
