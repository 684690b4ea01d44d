import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runCli } from '../support/run-cli.ts';
import { startCollector, type RunningCollector } from '../support/running-collector.ts';
import { sampleAnomaly } from '../support/sample-report.ts';

let collector: RunningCollector;

beforeEach(async () => {
  collector = await startCollector();
});
afterEach(() => collector.stop());

const run = (...words: string[]) =>
  runCli(words, {
    env: { PLASMAWATCH_COLLECTOR: collector.url, PLASMAWATCH_API_TOKEN: 'token-of-the-responder' },
  });

describe('plasmawatch silence', () => {
  it('adds one, which the incident says', async () => {
    await collector.report(sampleAnomaly(1));
    const peers = ['--peer', '10.77.0.0/16', '10.78.0.0/16'];
    const rest = ['--kind', 'unexpected-peer', '--reason', 'a drill', '--for', '2h'];
    const added = await run('silence', 'add', ...peers, ...rest);
    expect(added.stderr).toBe('');
    expect(added.stdout).toMatch(
      /^SIL-1 is active until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ: kind unexpected-peer, peer 10\.77\.0\.0\/16 or 10\.78\.0\.0\/16\n$/,
    );
    expect(added.status).toBe(0);
    expect((await run('incidents')).stdout).toContain('open (muted: silence SIL-1)');
    expect((await run('incidents', 'show', 'INC-1')).stdout).toContain('open (muted: silence SIL-1)\n');
  });

  it('lists them, and ends one', async () => {
    const from = new Date(Date.now() + 3_600_000).toISOString();
    const until = new Date(Date.now() + 7_200_000).toISOString();
    await run('silence', 'add', '--node', 'gpu-*', '--reason', 'new disks', '--from', from, '--until', until);
    const listed = await run('silence', 'list');
    expect(listed.status).toBe(0);
    const [head, row] = listed.stdout.split('\n');
    expect(head).toMatch(/^silence {2}state +from +until +by +about +reason$/);
    expect(row?.split(/ {2,}/)).toEqual([
      'SIL-1',
      'pending',
      `${from.slice(0, 19)}Z`,
      `${until.slice(0, 19)}Z`,
      'on-call',
      'node gpu-*',
      'new disks',
    ]);
    expect((await run('silence', 'end', 'SIL-1')).stdout).toBe('SIL-1 has ended: node gpu-*\n');
    expect((await run('silence', 'list')).stdout).toBe('No silences.\n');
    const ended = await run('silence', 'list', '--ended', '--json');
    expect(JSON.parse(ended.stdout)).toMatchObject({ id: 'SIL-1', state: 'ended', endedBy: 'on-call' });
  });

  it.each([
    [['add', '--kind', 'scan', '--for', '1h'], '--reason is missing'],
    [['add', '--reason', 'x', '--for', '1h'], 'expected one of --kind, --severity, --peer'],
    [['add', '--kind', 'scan', '--reason', 'x'], 'expected either --for 2h or --until'],
    [['add', '--kind', 'scan', '--reason', 'x', '--for', '1y'], '--for: expected a duration such as'],
    [['add', '--peer', '10.0.0.0/33', '--reason', 'x', '--for', '1h'], '--peer: expected an address range'],
    [['end', 'SIL-7'], 'there is no such silence (HTTP 404)'],
    [['add'], '--reason is missing'],
  ])('answers with 2 to %j', async (words, message) => {
    const { status, stdout, stderr } = await run('silence', ...words);
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toContain(message);
  });
});

describe('plasmawatch incidents resolve', () => {
  it('ends one in the name of who asks', async () => {
    await collector.report(sampleAnomaly(1));
    await run('incidents', 'ack', 'INC-1');
    expect(await run('incidents', 'resolve', 'INC-1')).toMatchObject({
      status: 0,
      stdout: 'INC-1 is resolved: Unexpected peer 10.77.9.66 talks to the object manager on w1\n',
    });
    const { status, stdout } = await run('incidents', 'show', 'INC-1');
    expect(status).toBe(0);
    expect(stdout).toMatch(/Z {2}acknowledged by on-call\n\S+Z {2}resolved by on-call\n$/);
  });
});
