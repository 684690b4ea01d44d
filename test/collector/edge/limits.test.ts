/**
 * Every table of the edge and the fleet that has an end, filled: then an honest agent still connects and its report is
 * taken, and a caller is still answered.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { RequestLimits } from '../../../collector/edge/request-limits.ts';
import { digestOf } from '../../../common/secret.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { sendReports } from '../../support/report-client.ts';
import { API_TOKENS, startCollector, type RunningCollector } from '../../support/running-collector.ts';
import { sampleAnomaly } from '../../support/sample-report.ts';

const AGENT_TOKEN = 'agent-token-of-the-test';
const HONEST = '127.0.0.9';
const ADMIN = { authorization: `Bearer ${API_TOKENS[2].token}` };

let collector: RunningCollector | undefined;
const sockets: Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await collector?.stop();
});

/** The address of one of many attackers. */
function attacker(index: number): string {
  return `127.${1 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
}

async function knock(url: string, localAddress: string): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port: Number(new URL(url).port), localAddress });
  sockets.push(socket.on('error', () => {}));
  await once(socket, 'connect');
  return socket;
}

async function metric(url: string, line: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`, { headers: ADMIN })).text();
  const found = text.split('\n').find((each) => each.startsWith(`${line} `));
  return Number(found?.slice(line.length) ?? NaN);
}

describe('connections of a crowd with an address each', () => {
  it('keep no agent out that came in before, nor a caller, and their reports are taken', async () => {
    collector = await startCollector({ limits: { maxVisitors: 20 } });
    const { url } = collector;
    const honest = { url, token: AGENT_TOKEN, localAddress: HONEST };
    await sendReports(honest, [sampleAnomaly(1)]);
    // More than the room holds, and more than the addresses whose rate is remembered.
    const waves = 21;
    for (let wave = 0; wave < waves; wave++) {
      const crowd = Array.from({ length: 500 }, (_, index) => knock(url, attacker(wave * 500 + index)));
      // In the middle of the crowd, not after it.
      await Promise.all([
        ...crowd,
        sendReports({ ...honest, firstSequence: wave + 2 }, [sampleAnomaly(wave + 2)]),
      ]);
      for (const socket of sockets.splice(0)) socket.destroy();
    }
    expect(await metric(url, 'plasmawatch_reports_total{type="anomaly"}')).toBe(waves + 1);
    expect(await metric(url, 'plasmawatch_peers_refused_total{reason="crowded-out"}')).toBeGreaterThanOrEqual(
      500,
    );
  });
});

describe('names of agents that somebody with the shared token makes up', () => {
  it('leave the place of an agent that an admin enrolled', async () => {
    collector = await startCollector({ limits: { maxAgents: 3 } });
    const { url } = collector;
    for (let index = 0; index < 3; index++) {
      const report = { ...sampleAnomaly(1), node: `made-up-${index}` };
      await sendReports({ url, token: AGENT_TOKEN, agent: `made-up-${index}` }, [report]);
    }
    const answer = await fetch(`${url}/api/agents/w1/enrol`, { method: 'POST', headers: ADMIN });
    const { enrolment } = (await answer.json()) as { enrolment: { token: string } };
    const key = 'k'.repeat(43);
    await sendReports({ url, token: enrolment.token, keyDigest: digestOf(key) }, [sampleAnomaly(1)]);
    await sendReports({ url, token: key, firstSequence: 2 }, [sampleAnomaly(2)]);
    expect(await metric(url, 'plasmawatch_reports_total{type="anomaly"}')).toBe(5);
  });
});

describe('requests of more addresses than are remembered', () => {
  it('hold up neither a caller nor an address that was quiet, and the address that was too fast stays held up', () => {
    const clock = new FakeClock();
    const limits = new RequestLimits({ clock, requestsPerSecond: 1 });
    for (let index = 0; index < 25_000; index++) limits.noteFailedLogin(attacker(index));
    expect(limits.takeOfCaller('grafana')).toBe(0);
    expect(limits.takeOfAddress(HONEST)).toBe(0);
    expect(limits.takeOfAddress(attacker(24_999))).toBeGreaterThan(0);
  });
});
