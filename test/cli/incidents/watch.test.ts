import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CollectorClient } from '../../../cli/collector-client.ts';
import { watchIncidents } from '../../../cli/incidents/watch.ts';
import { PlasmawatchError } from '../../../common/errors.ts';
import { runCli } from '../../support/run-cli.ts';
import { startCollector, type RunningCollector } from '../../support/running-collector.ts';
import { sampleAnomaly } from '../../support/sample-report.ts';

let collector: RunningCollector;

beforeEach(async () => {
  collector = await startCollector();
});
afterEach(() => collector.stop());

const env = () => ({ PLASMAWATCH_URL: collector.url, PLASMAWATCH_API_TOKEN: 'token-of-the-responder' });

describe('plasmawatch incidents --watch', () => {
  it('writes a line for each change as long as it runs', async () => {
    const stop = new AbortController();
    const lines: { id: string; state: string }[] = [];
    let grown = (): void => {};
    const stdout = {
      write: (line: string) => {
        lines.push(JSON.parse(line) as (typeof lines)[number]);
        grown();
      },
    } as unknown as NodeJS.WritableStream;
    const atLeast = async (count: number) => {
      while (lines.length < count) await new Promise<void>((resolve) => (grown = resolve));
    };
    await collector.report(sampleAnomaly(1));
    const client = await CollectorClient.create({}, { env: env(), stopSignal: stop.signal });
    const query = new URLSearchParams({ state: 'unresolved', limit: '500' });
    const options = { query, json: true, intervalMs: 5 };
    const watching = watchIncidents(client, options, { stdout, stderr: stdout, stopSignal: stop.signal });
    await atLeast(1);
    await runCli(['incidents', 'ack', 'INC-1', '--comment', 'on it'], { env: env() });
    await atLeast(2);
    await runCli(['incidents', 'resolve', 'INC-1'], { env: env() });
    await atLeast(3);
    await collector.report({ ...sampleAnomaly(1), count: 2 });
    await atLeast(4);
    stop.abort();
    expect(await watching).toBe(1);
    expect(lines.map(({ id, state }) => `${id} ${state}`)).toEqual([
      'INC-1 open',
      'INC-1 acknowledged',
      'INC-1 resolved',
      'INC-1 open',
    ]);
  });

  it('says once that the collector is away, and goes on', async () => {
    const stop = new AbortController();
    const problems: string[] = [];
    let asked = 0;
    const client = {
      get: async () => {
        asked++;
        if (asked > 1 && asked < 5) throw new PlasmawatchError('PW_API', 'away');
        if (asked === 7) stop.abort();
        return { incidents: [], nextCursor: null } as never;
      },
    };
    const stderr = { write: (line: string) => problems.push(line) } as unknown as NodeJS.WritableStream;
    const options = { query: new URLSearchParams(), json: false, intervalMs: 1 };
    const status = await watchIncidents(client, options, { stdout: stderr, stderr, stopSignal: stop.signal });
    expect(status).toBe(0);
    expect(problems).toEqual(['plasmawatch: away [PW_API]; trying again\n', 'the collector answers again\n']);
  });

  it('ends with 2 where there is no collector', async () => {
    const elsewhere = { ...env(), PLASMAWATCH_API_TOKEN: 'wrong' };
    const { status, stderr } = await runCli(['incidents', '--watch'], { env: elsewhere });
    expect(status).toBe(2);
    expect(stderr).toContain('does not know the token of PLASMAWATCH_API_TOKEN');
  });
});
