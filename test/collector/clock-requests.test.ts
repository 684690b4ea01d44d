/** What people and agents do within the second in which the wall clock was set, before a timer has noticed it. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { INGEST_PATH } from '../../common/protocol.ts';
import { CLOCK_STEPS } from '../support/clock-disturbances.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { API_TOKENS, startCollector, type RunningCollector } from '../support/running-collector.ts';
import { sampleAnomaly } from '../support/sample-report.ts';

const MINUTE_MS = 60_000;

let clock: FakeClock;
let collector: RunningCollector;
beforeEach(async () => {
  clock = new FakeClock();
  collector = await startCollector({}, { clock });
});
afterEach(() => collector.stop());

/** As the admin. */
async function request(method: string, path: string, body?: object): Promise<Record<string, unknown>> {
  const token = API_TOKENS.find(({ role }) => role === 'admin')?.token;
  const headers = {
    authorization: `Bearer ${token}`,
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
  };
  const answer = await fetch(collector.url + path, {
    method,
    headers,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  expect(answer.ok).toBe(true);
  return (await answer.json()) as Record<string, unknown>;
}

/** Whether an agent with this token may connect. */
async function isAdmitted(token: string): Promise<boolean> {
  const url = collector.url.replace('http', 'ws') + INGEST_PATH;
  const socket = new WebSocket(url, { headers: { authorization: `Bearer ${token}` } });
  const isOpen = new Promise<boolean>((resolve) => {
    socket.on('open', () => resolve(true));
    socket.on('error', () => resolve(false));
    socket.on('close', () => resolve(false));
  });
  return await isOpen.finally(() => socket.terminate());
}

describe.each(CLOCK_STEPS)('a collector whose clock was $name just now', ({ apply }) => {
  it('issues an enrolment token for its whole time', async () => {
    apply(clock);
    const { enrolment } = await request('POST', '/api/agents/w9/enrol');
    const leftMs = Date.parse((enrolment as { expires: string }).expires) - clock.now();
    clock.advance(2000);
    expect(leftMs).toBe(60 * MINUTE_MS);
    expect(await isAdmitted((enrolment as { token: string }).token)).toBe(true);
  });

  it('resolves an incident at the time that it is', async () => {
    await collector.report(sampleAnomaly(1));
    apply(clock);
    await request('POST', '/api/incidents/INC-1/resolve');
    clock.advance(2000);
    const { incident } = await request('GET', '/api/incidents/INC-1');
    expect(clock.now() - Date.parse((incident as { resolved: string }).resolved)).toBe(2000);
  });
});
