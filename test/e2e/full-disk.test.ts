/** A full disk is said once and clearly, stops nothing that needs no disk, and is over by itself. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Deployment, missingForDeployment } from '../support/deployment.ts';
import { Program } from '../support/program.ts';
import { waitFor } from '../support/wait-for.ts';

const LIMIT_MS = 60_000;
const missing = missingForDeployment();

describe.skipIf(missing !== undefined)(
  `a full disk (needs Linux, root, influxd${missing ? `, missing: ${missing}` : ''})`,
  () => {
    let deployment: Deployment;
    let strangers: string[];
    beforeEach(async () => {
      deployment = await Deployment.open();
      strangers = [];
    }, LIMIT_MS);
    afterEach(() => deployment.close());

    /** A new stranger talks to the member. */
    async function talk(): Promise<void> {
      const stranger = deployment.host(strangers.length + 2);
      strangers.push(stranger);
      await deployment.talkAs(stranger);
    }

    async function isTold(peer: string): Promise<boolean> {
      return (await deployment.messages()).some(({ body }) => body.data.peer === peer);
    }

    const linesOf = (program: Program, text: string): string[] =>
      program.stderr.filter((line) => line.includes(text));

    it('of the agent: it watches on, says so in log, heartbeat and incident, and tells all of it later', async () => {
      const { agent, agentDisk } = deployment;
      agentDisk.fill();
      await waitFor(
        async () => {
          await talk();
          return linesOf(agent, 'PW_DISK_FULL').length > 0;
        },
        'the agent to meet the end of its disk',
        LIMIT_MS,
      );
      await talk();
      const heartbeat = async (): Promise<Record<string, number>> => {
        const { text } = await deployment.get('/api/agents');
        return (
          (JSON.parse(text) as { agents: { counters: Record<string, number> }[] }).agents[0]?.counters ?? {}
        );
      };
      await waitFor(
        async () => {
          const { spool_refused: refused, reports_waiting: waiting } = await heartbeat();
          return refused === 1 && (waiting ?? 0) > 0;
        },
        'a heartbeat that says so',
        LIMIT_MS,
      );
      const incidents = (await deployment.get('/api/incidents')).text;
      expect(incidents).toContain('The disk of the agent on w1 is full or broken');
      const doctor = new Program(['doctor', '--json', '--config', deployment.agentConfig]);
      await doctor.said('[PW_DISK_FULL]');
      await doctor.kill();
      expect(await isTold(strangers.at(-1) ?? '')).toBe(false);

      agentDisk.free();
      await agent.said('the spool takes reports again');
      for (const stranger of strangers) {
        await waitFor(() => isTold(stranger), `the receiver to be told of ${stranger}`, LIMIT_MS);
      }
      await waitFor(async () => (await heartbeat())['spool_refused'] === 0, 'a good heartbeat', LIMIT_MS);
      expect((await heartbeat())['reports_lost']).toBe(0);
      expect((await deployment.get('/api/incidents')).text).toContain('captures and reports again');
      expect(linesOf(agent, 'PW_DISK_FULL')).toHaveLength(1);
    }, 180_000);

    it('of the collector: it acknowledges nothing, says so in log, health and metrics, and tells all of it later', async () => {
      const { agent, collector, collectorDisk } = deployment;
      collectorDisk.fill();
      await waitFor(
        async () => {
          await talk();
          return linesOf(collector, 'PW_DISK_FULL').length > 0;
        },
        'the collector to meet the end of its disk',
        LIMIT_MS,
      );
      await talk();
      await waitFor(() => deployment.hasReported(strangers.at(-1) ?? ''), 'the agent to have it on disk');
      const { status, text } = await deployment.get('/api/health');
      expect([status, JSON.parse(text)]).toEqual([
        503,
        {
          error: {
            code: 'PW_DISK_FULL',
            message: 'the disk of the store is full: agents keep their reports until it works',
          },
        },
      ]);
      expect(await deployment.metric('plasmawatch_store_refusing')).toBe(1);
      expect((await deployment.get('/api/incidents')).status).toBe(200);
      expect(await isTold(strangers.at(-1) ?? '')).toBe(false);

      collectorDisk.free();
      for (const stranger of strangers) {
        await waitFor(() => isTold(stranger), `the receiver to be told of ${stranger}`, LIMIT_MS);
      }
      const isHealthy = async (): Promise<boolean> => (await deployment.get('/api/health')).status === 200;
      await waitFor(isHealthy, 'the collector to be well', LIMIT_MS);
      expect(linesOf(collector, '"PW_DISK_FULL"')).toHaveLength(1);
      const told = (await deployment.messages()).filter(({ body }) => body.type === 'incident.opened');
      expect(told.map(({ id }) => id)).toHaveLength(new Set(told.map(({ id }) => id)).size);
      expect(told.map(({ body }) => String(body.data.peer)).toSorted()).toEqual(strangers.toSorted());
      expect(agent.stderr.filter((line) => line.includes('are lost'))).toEqual([]);
    }, 180_000);
  },
);
