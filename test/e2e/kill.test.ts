/**
 * Nothing lost, nothing twice: agent, collector, receiver and database are killed again and again at random moments,
 * with the disk of the agent or of the collector full in some rounds, while strangers talk to a member.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ANOMALY_MEASUREMENT, FLOW_MEASUREMENT, INFLUX_CURSOR } from '../../collector/export/influx.ts';
import type { Anomaly, FlowReport, Report } from '../../common/event.ts';
import { Deployment, missingForDeployment, PARTS, type Part } from '../support/deployment.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { waitFor } from '../support/wait-for.ts';

const ROUNDS = Number(process.env['PLASMAWATCH_TEST_ROUNDS'] ?? 8);
const SEED = Number(process.env['PLASMAWATCH_TEST_SEED'] ?? 20261123);
/** New ones in each round, each of which is an anomaly. */
const STRANGERS_PER_ROUND = 3;
/** Hosts by number: a member, who may, and the unknown peer that talks in every round. */
const MEMBER = 1;
const REGULAR = 2;
/** For an agent on a machine that is busy with other tests. */
const REPORT_LIMIT_MS = 60_000;
/** A webhook that failed twice is tried again after five minutes (Standard Webhooks). */
const SETTLE_LIMIT_MS = 420_000;

interface Round {
  /** What is killed, and how many milliseconds after the round began. */
  readonly kills: readonly { readonly part: Part; readonly afterMs: number }[];
  readonly fullDisk: 'agent' | 'collector' | undefined;
  /** Who talks, and when. */
  readonly talks: readonly { readonly host: number; readonly afterMs: number }[];
}

/** Each part is killed in every fourth round at least, and each disk is full in every fourth. */
function planRounds(count: number, seed: number): Round[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, (_, index) => {
    const strangers = Array.from(
      { length: STRANGERS_PER_ROUND },
      (_, stranger) => REGULAR + 1 + index * STRANGERS_PER_ROUND + stranger,
    );
    return {
      kills: PARTS.filter((_, part) => part === index % PARTS.length || random() < 0.2).map((part) => ({
        part,
        afterMs: random() * 250,
      })),
      fullDisk: ([undefined, 'agent', undefined, 'collector'] as const)[Math.floor(index / 2) % 4],
      talks: [...strangers, REGULAR, MEMBER].map((host) => ({ host, afterMs: random() * 250 })),
    };
  });
}

const missing = missingForDeployment();

describe.skipIf(missing !== undefined)(
  `${ROUNDS} rounds of kill -9, seed ${SEED} (needs Linux, root, influxd${missing ? `, missing: ${missing}` : ''})`,
  () => {
    let deployment: Deployment;
    /** Strangers who talked while an agent lived on with room on its disk. */
    const seen: string[] = [];

    beforeAll(
      async () => {
        deployment = await Deployment.open();
        for (const round of planRounds(ROUNDS, SEED)) await play(round);
        await settle();
      },
      SETTLE_LIMIT_MS + ROUNDS * 20_000,
    );
    afterAll(() => deployment.close());

    /** All that is killed comes back while the disk is still full. */
    async function play({ kills, fullDisk, talks }: Round): Promise<void> {
      const disk = fullDisk === 'agent' ? deployment.agentDisk : deployment.collectorDisk;
      if (fullDisk !== undefined) disk.fill();
      await Promise.all([
        ...kills.map(async ({ part, afterMs }) => {
          await delay(afterMs);
          await deployment.kill(part);
        }),
        ...talks.map(async ({ host, afterMs }) => {
          await delay(afterMs);
          await deployment.talkAs(deployment.host(host));
        }),
      ]);
      await Promise.all(kills.map(({ part }) => deployment.start(part)));
      disk.free();
      if (kills.some(({ part }) => part === 'agent')) return;
      const strangers = talks.filter(({ host }) => host !== MEMBER).map(({ host }) => deployment.host(host));
      for (const stranger of strangers) {
        await waitFor(() => deployment.hasReported(stranger), `a report of ${stranger}`, REPORT_LIMIT_MS);
      }
      seen.push(...strangers);
    }

    /** Stops the agent when it has sent what it has, and the collector when everything is where it should be. */
    async function settle(): Promise<void> {
      const isConnected = async (): Promise<boolean> =>
        (await deployment.metric('plasmawatch_agents_connected')) === 1;
      await waitFor(isConnected, 'the agent to be connected', REPORT_LIMIT_MS);
      await deployment.stopAgent();
      const endMs = performance.now() + SETTLE_LIMIT_MS;
      for (;;) {
        for (const what of ['notifications_waiting{receiver="ops"}', 'influx_waiting']) {
          const isZero = async (): Promise<boolean> => (await deployment.metric(`plasmawatch_${what}`)) === 0;
          await waitFor(isZero, `${what} to be 0`, SETTLE_LIMIT_MS);
        }
        await deployment.collector.stop();
        if ((await isAllOut()) || performance.now() > endMs) return;
        await deployment.start('collector');
      }
    }

    /** The metrics are as old as the last look; the store knows. */
    async function isAllOut(): Promise<boolean> {
      const rows = await deployment.readStore(
        `SELECT 1 FROM outbox WHERE state = 'pending'
         UNION ALL SELECT 1 FROM reports WHERE id > (SELECT position FROM cursors WHERE name = '${INFLUX_CURSOR}')`,
      );
      return rows.length === 0;
    }

    async function storedReports(): Promise<Report[]> {
      const rows = await deployment.readStore<{ report: string }>('SELECT report FROM reports ORDER BY id');
      return rows.map(({ report }) => JSON.parse(report) as Report);
    }

    it('every anomaly that reached the disk of the agent is in the store', async () => {
      const stored = new Set((await storedReports()).filter(isAnomaly).map(fingerprint));
      expect(deployment.durable.map(fingerprint).filter((anomaly) => !stored.has(anomaly))).toEqual([]);
      expect(deployment.durable.length).toBeGreaterThan(ROUNDS);
    });

    it('every report is in the store once, and none between them is missing', async () => {
      const rows = await deployment.readStore<{ epoch: string; sequence: number }>(
        'SELECT epoch, sequence FROM reports ORDER BY sequence',
      );
      expect(new Set(rows.map(({ epoch }) => epoch)).size).toBe(1);
      expect(rows.map(({ sequence }) => sequence)).toEqual(rows.map((_, index) => index + 1));
    });

    it('every stranger who was seen is one incident', async () => {
      const peers = (await incidentsOfStrangers()).map(({ peer }) => peer);
      expect([...seen, deployment.host(REGULAR)].filter((stranger) => !peers.includes(stranger))).toEqual([]);
      expect(peers.filter((peer, index) => peers.indexOf(peer) !== index)).toEqual([]);
    });

    it('every notification arrived, and with repeats dropped by their id each incident is told once', async () => {
      const outbox = await deployment.readStore<{ id: string; state: string }>(
        'SELECT id, state FROM outbox',
      );
      expect(outbox.filter(({ state }) => state !== 'delivered')).toEqual([]);
      const shown = new Map((await deployment.messages()).map((message) => [message.id, message]));
      expect([...shown.keys()].toSorted()).toEqual(outbox.map(({ id }) => id).toSorted());
      const opened = [...shown.values()].filter(({ body }) => body.type === 'incident.opened');
      const told = opened.map(({ body }) => body.data.id);
      const incidents = (await incidentsOfStrangers()).map(({ id }) => id);
      expect(incidents.filter((id) => told.filter((other) => other === id).length !== 1)).toEqual([]);
    });

    it('every point is in the database once', async () => {
      const reports = await storedReports();
      const anomalies = await points<{ id: string; count: number; bytes: number }>(ANOMALY_MEASUREMENT);
      expect(anomalies.map(({ id, count, bytes }) => `${id} ${count} ${bytes}`).toSorted()).toEqual(
        reports
          .filter(isAnomaly)
          .map(({ id, count, bytes }) => `${id} ${count} ${bytes}`)
          .toSorted(),
      );
      const flows = await points<{ source_ip: string; source_port: number; source_bytes: number }>(
        FLOW_MEASUREMENT,
      );
      expect(
        flows.map((flow) => `${flow.source_ip} ${flow.source_port} ${flow.source_bytes}`).toSorted(),
      ).toEqual(
        reports
          .filter(isFlowReport)
          .map(({ flow: { source } }) => `${source.ip} ${source.port} ${source.bytes}`)
          .toSorted(),
      );
    });

    async function points<Row>(measurement: string): Promise<Row[]> {
      return await deployment.influx.client.query<Row>(`select * from ${measurement}`, {
        database: 'plasmawatch',
      });
    }

    async function incidentsOfStrangers(): Promise<{ id: string; peer: string }[]> {
      const rows = await deployment.readStore<{ number: number; incident: string }>(
        'SELECT number, incident FROM incidents',
      );
      return rows
        .map(({ number, incident }) => {
          const { peer, kind } = JSON.parse(incident) as { peer: string; kind: string };
          return { id: `INC-${number}`, peer, kind };
        })
        .filter(({ kind }) => kind === 'unexpected-peer');
    }
  },
);

function isAnomaly(report: Report): report is Anomaly {
  return report.type === 'anomaly';
}

function isFlowReport(report: Report): report is FlowReport {
  return report.type === 'flow-report';
}

/** What tells one state of an anomaly from the others. */
function fingerprint({ id, count, bytes, last }: Anomaly): string {
  return `${id} ${count} ${bytes} ${last}`;
}
