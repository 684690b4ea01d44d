/**
 * One agent that was taken over, beside twenty that report what happens: whatever the one sends, what the others report
 * is taken in, kept with its evidence and its words, and told. `PLASMAWATCH_TEST_SECONDS=60` lets it last longer.
 */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Anomaly, Report } from '../../common/event.ts';
import { AGENT_TOKEN, BesiegedCollector } from '../support/besieged-collector.ts';
import { HostileAgent } from '../support/hostile-agent.ts';
import { HttpReceiver } from '../support/http-receiver.ts';
import { sampleAnomaly, sampleEvidence, sampleFlowReport } from '../support/sample-report.ts';

const HONEST_AGENTS = 20;
const ATTACK_MS = 1000 * Number(process.env['PLASMAWATCH_TEST_SECONDS'] ?? 10);
/** How often each honest agent sees something new. */
const NEWS = 4;
/** So small that the hostile agent fills it several times. */
const MAX_REPORTS = 2000;
const MAX_SIZE = '16MiB';
/** Enough for what agents send before it is noticed that the store is full. */
const SLACK_BYTES = 24 * 1024 * 1024;

/** What an honest agent saw: a peer of its own. */
function seenBy(name: string, number: number): readonly [Anomaly, ...Report[]] {
  const { flow, ...anomaly } = sampleAnomaly(number);
  if (flow === null) throw new Error('expected a flow');
  const id = `${name}-${number}`;
  const ip = `10.20.${number}.${1 + Number(name.split('-')[1])}`;
  const now = new Date().toISOString();
  const seen = {
    ...anomaly,
    id,
    node: name,
    flow: { ...flow, event: { start: now, end: now }, source: { ...flow.source, ip } },
    first: now,
    last: now,
    message: `${ip} read 1 MB from ${name}`,
  };
  return [seen, { ...sampleEvidence(id), node: name }, { ...sampleFlowReport(), node: name }];
}

describe('one hostile agent beside twenty honest ones', () => {
  let receiver: HttpReceiver;
  let collector: BesiegedCollector;
  let hostile: HostileAgent;
  const honest: Anomaly[] = [];
  let roundsUnderAttack = 0;
  /** Of each honest agent. */
  let reported = 1;
  let size = 0;

  beforeAll(
    async () => {
      receiver = await HttpReceiver.open();
      collector = await BesiegedCollector.start(HONEST_AGENTS, {
        store: `, maxReports: ${MAX_REPORTS}, maxSize: ${MAX_SIZE}`,
        more: (folder) => `receivers:
  - { name: ops, type: webhook, url: '${receiver.url('/hook')}', secretFile: ${folder}/webhook-secret }
incidents: { groupWait: 0s, burstSubjects: 100, scanServices: 100, messagesPerHour: 1000 }
`,
      });
      hostile = new HostileAgent(collector.url, AGENT_TOKEN, 'hostile');
      hostile.start();
      const startMs = performance.now();
      const elapsed = (): number => (performance.now() - startMs) / ATTACK_MS;
      let seen = 0;
      // Each round ends when every honest agent has its acknowledgements.
      while (elapsed() < 1 || seen < NEWS) {
        // Again and again through the attack each of them sees something new; else there is nothing but a connection.
        const isNew = elapsed() * (NEWS + 1) > seen + 1;
        if (isNew) seen++;
        await collector.deliver((name) => {
          const [anomaly, ...rest] = seenBy(name, seen);
          if (!isNew) return rest.slice(1);
          honest.push(anomaly);
          return [anomaly, ...rest];
        });
        roundsUnderAttack++;
        reported += isNew ? 3 : 1;
        size = Math.max(size, (await collector.metrics())('store_bytes'));
      }
    },
    60_000 + 2 * ATTACK_MS,
  );

  afterAll(async () => {
    hostile.stop();
    await collector.stop();
    await receiver.close();
  });

  it('slows the one down, and breaks no connection of the others', async () => {
    const valueOf = await collector.metrics();
    expect(hostile.sent).toBeGreaterThan(MAX_REPORTS);
    expect(valueOf('sessions_slowed_total')).toBeGreaterThan(0);
    expect(collector.agentFailures()).toBe(0);
  });

  it('tells of every peer that the others saw', async () => {
    const peers = honest.map(({ flow }) => flow?.source.ip ?? '');
    const untold = (): string[] => {
      const bodies = receiver.requests.map(({ body }) => body).join('\n');
      return peers.filter((peer) => !bodies.includes(`"${peer}"`));
    };
    await vi.waitFor(() => expect(untold()).toEqual([]), { timeout: 20_000, interval: 300 });
  }, 40_000);

  it('keeps what the others reported, word by word and with its evidence, in a store of bounded size', async () => {
    await collector.kill();
    const members = await collector.readStore<{ anomaly_id: string; latest: string }>(
      "SELECT anomaly_id, latest FROM members WHERE agent LIKE 'healthy-%'",
    );
    const textOf = new Map(
      members.map(({ anomaly_id, latest }) => [anomaly_id, (JSON.parse(latest) as Anomaly).message]),
    );
    const evidence = await collector.readStore<{ anomaly: string }>(
      `SELECT json_extract(report, '$.anomaly') AS anomaly FROM reports
       WHERE agent LIKE 'healthy-%' AND json_extract(report, '$.type') = 'evidence'`,
    );
    const stored = await collector.readStore<{ agent: string; count: number }>(
      'SELECT agent, COUNT(*) AS count FROM reports GROUP BY agent',
    );
    for (const { id, message } of honest) expect(textOf.get(id)).toBe(message);
    expect(evidence.map(({ anomaly }) => anomaly).toSorted()).toEqual(honest.map(({ id }) => id).toSorted());
    // What was killed in the middle still knows who has how much.
    const shares = await collector.readStore(
      "SELECT agent, SUM(row_count) AS count FROM shares WHERE part IN ('plain', 'findings') GROUP BY agent",
    );
    expect(shares).toEqual(stored);
    const fairShare = Math.floor(MAX_REPORTS / (HONEST_AGENTS + 1));
    for (const { agent, count } of stored.filter(({ agent }) => agent !== 'hostile')) {
      expect([agent, count >= Math.min(reported, fairShare)]).toEqual([agent, true]);
    }
    expect(size).toBeLessThan(16 * 1024 * 1024 + SLACK_BYTES);
  });
});
