import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runCli } from '../support/run-cli.ts';
import { startCollector, type RunningCollector } from '../support/running-collector.ts';
import { sampleAnomaly } from '../support/sample-report.ts';

let collector: RunningCollector;

beforeEach(async () => {
  collector = await startCollector();
});
afterEach(() => collector.stop());

const run = (words: string, role = 'admin') =>
  runCli(words.split(' '), {
    env: { PLASMAWATCH_COLLECTOR: collector.url, PLASMAWATCH_API_TOKEN: `token-of-the-${role}` },
  });

describe('plasmawatch audit', () => {
  it('lists who did what to what, newest first', async () => {
    expect((await run('audit')).stdout).toBe('No such entries.\n');
    await collector.report(sampleAnomaly(1));
    await run('incidents ack INC-1', 'responder');
    await run('silence add --kind scan --reason drill --for 1h', 'responder');
    await run('incidents resolve INC-1');
    const { status, stdout } = await run('audit');
    expect(status).toBe(0);
    const rows = stdout.trim().split('\n').slice(1);
    expect(rows.map((row) => row.split(/ {2,}/).slice(1, 4))).toEqual([
      ['admin', 'incident.resolve', 'INC-1'],
      ['on-call', 'silence.add', 'SIL-1'],
      ['on-call', 'incident.acknowledge', 'INC-1'],
    ]);
    expect(rows[1]).toContain('"reason":"drill"');
  });

  it('lists only what is asked for, and says when there is more', async () => {
    await collector.report(sampleAnomaly(1));
    await run('incidents ack INC-1', 'responder');
    await run('incidents resolve INC-1');
    const one = await run('audit --subject INC-1 --limit 1 --json');
    expect(JSON.parse(one.stdout)).toMatchObject({ type: 'action', actor: 'admin', subject: 'INC-1' });
    expect(one.stderr).toBe('there are more than these 1: see --limit\n');
    expect((await run('audit --actor nobody --json')).stdout).toBe('');
  });

  it('is not for everybody', async () => {
    expect(await run('audit', 'responder')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('this needs the role admin') as string,
    });
  });
});
