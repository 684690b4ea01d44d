import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Anomaly } from '../../../common/event.ts';
import { runCli } from '../../support/run-cli.ts';
import { startCollector, type RunningCollector } from '../../support/running-collector.ts';
import { sampleAnomaly } from '../../support/sample-report.ts';
import { addresses, contactOf } from '../../support/unknown-peer.ts';

let collector: RunningCollector;

beforeEach(async () => {
  collector = await startCollector();
});
afterEach(() => collector.stop());

const run = (words: string, token = 'token-of-the-responder') =>
  runCli(['incidents', ...words.split(' ').filter(Boolean)], {
    env: { PLASMAWATCH_COLLECTOR: collector.url, PLASMAWATCH_API_TOKEN: token },
  });

/** An anomaly about this peer. */
function anomalyOf(number: number, changes: Partial<Anomaly> = {}): Anomaly {
  const anomaly = sampleAnomaly(number);
  const { flow } = anomaly;
  if (flow === null) throw new Error('the sample has a flow');
  return { ...anomaly, flow: { ...flow, source: { ...flow.source, ip: `10.9.0.${number}` } }, ...changes };
}

describe('plasmawatch incidents', () => {
  it('finds nothing where nothing is unresolved, and answers with 0', async () => {
    expect(await run('')).toEqual({ status: 0, stdout: 'No unresolved incidents.\n', stderr: '' });
    expect(await run('--json')).toEqual({ status: 0, stdout: '', stderr: '' });
  });

  it('lists what is unresolved, newest first, and answers with 1', async () => {
    await collector.report(anomalyOf(1), anomalyOf(2, { severity: 'warning' }));
    const { status, stdout } = await run('');
    expect(status).toBe(1);
    expect(stdout).toBe(
      `incident  severity  state  last seen             what
INC-2     warning   open   2026-11-23T09:42:12Z  Unexpected peer 10.9.0.2 talks to the object manager on w1
INC-1     critical  open   2026-11-23T09:42:12Z  Unexpected peer 10.9.0.1 talks to the object manager on w1
`,
    );
  });

  it.each([
    ['--severity critical', ['INC-1']],
    ['--kind scan', ['INC-2']],
    ['--severity warning --kind scan --state open', ['INC-2']],
    ['--severity info', []],
    ['--state acknowledged', []],
    ['--state all', ['INC-2', 'INC-1']],
  ])('lists only what is asked for: %s', async (words, ids) => {
    await collector.report(anomalyOf(1), anomalyOf(2, { severity: 'warning', kind: 'scan' }));
    const { stdout } = await run(`${words} --json`);
    const listed = stdout.split('\n').filter(Boolean);
    expect(listed.map((line) => (JSON.parse(line) as { id: string }).id)).toEqual(ids);
  });

  it('says when there is more', async () => {
    await collector.report(anomalyOf(1), anomalyOf(2));
    const { stdout, stderr } = await run('--limit 1 --json');
    expect(stdout.trim().split('\n')).toHaveLength(1);
    expect(stderr).toBe('there are more than these 1: see --limit\n');
    expect(await run('--limit 501')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('--limit: expected a whole number from 1 to 500') as string,
    });
  });

  it('shows one with what happened when, and nothing that could move a cursor', async () => {
    await collector.report(anomalyOf(1, { message: 'a \u001b[2Jstranger' }));
    const { status, stdout } = await run('show INC-1');
    expect(status).toBe(1);
    expect(stdout).toMatch(
      /^INC-1 {2}critical {2}open\nUnexpected peer 10\.9\.0\.1 talks .*\n\nwho +10\.9\.0\.1:40112\nwhat +unexpected-peer\nto whom +10\.77\.0\.11:43800, object-manager\nconnection +closed\nprocess +not known.*\nrule +none allows it \(no-rule\)\ntraffic +1 connection, 4\.1 KiB\nseen +\S+ to \S+\nseen by +w1\nmessage +w1 reports: "a {2}\[2Jstranger"\nevidence +none\n\n/,
    );
    expect(stdout).toContain('2026-11-23T09:42:10Z  first seen\n2026-11-23T09:42:12Z  last seen\n');
    expect(stdout).toMatch(/Z {2}opened\n\nNext: plasmawatch incidents ack INC-1 --comment 'on it'\n$/);
    const json = JSON.parse((await run('show INC-1 --json')).stdout) as unknown;
    expect(json).toMatchObject({ id: 'INC-1', anomalies: [{ agent: 'w1' }], notifications: [] });
  });

  it('shows the most severe members first, and all of them where it is asked to', async () => {
    await collector.report(
      ...addresses(600).map((peer) => contactOf({ peer })),
      contactOf({ peer: '203.0.113.66', bytes: 90_000 }),
    );
    const some = await run('show INC-1');
    const lines = some.stdout.split('\n');
    const head = lines.findIndex((line) => line.startsWith('severity'));
    expect(lines[head + 1]).toMatch(
      /^critical +87\.9 KiB +1 +203\.0\.113\.66 +10\.77\.0\.11 +object-manager +established +w1 /,
    );
    expect(lines.filter((line) => line.startsWith('critical'))).toHaveLength(20);
    expect(some.stderr).toBe('there are more members than these 20: see --members\n');
    const all = await run('show INC-1 --members 0 --json');
    expect(all.stderr).toBe('');
    expect((JSON.parse(all.stdout) as { anomalies: unknown[] }).anomalies).toHaveLength(601);
    expect(await run('show INC-1 --members -1')).toMatchObject({ status: 2 });
  });

  it('acknowledges one, and only for who may', async () => {
    await collector.report(anomalyOf(1));
    expect(await run('ack INC-1', 'token-of-the-viewer')).toEqual({
      status: 2,
      stdout: '',
      stderr: 'plasmawatch: the collector refuses that: this needs the role responder (HTTP 403) [PW_API]\n',
    });
    expect(await run('ack INC-1')).toMatchObject({
      status: 0,
      stdout: 'INC-1 is acknowledged: Unexpected peer 10.9.0.1 talks to the object manager on w1\n',
    });
    expect((await run('--state acknowledged')).stdout).toContain('INC-1');
    expect((await run('show INC-1')).stdout).toMatch(
      /Z {2}acknowledged by on-call\n\nNext: plasmawatch incidents resolve INC-1\n$/,
    );
  });

  it.each(['show', 'ack'])('%s says that there is no such incident', async (command) => {
    const { status, stderr } = await run(`${command} INC-7/../../agents`);
    expect(status).toBe(2);
    expect(stderr).toContain('there is no such incident (HTTP 404) [PW_API]');
  });

  it('answers with 2 to words that it does not know', async () => {
    expect(await run('close INC-1')).toMatchObject({ status: 2 });
    expect(await run('--severity high')).toMatchObject({ status: 2 });
  });
});

describe('what people say with an action', () => {
  it('is kept with it and shown, also when it is acknowledged already', async () => {
    await collector.report(anomalyOf(1));
    const say = (verb: string, comment: string) =>
      runCli(['incidents', verb, 'INC-1', '--comment', comment], {
        env: { PLASMAWATCH_URL: collector.url, PLASMAWATCH_API_TOKEN: 'token-of-the-responder' },
      });
    expect((await say('ack', 'on it')).status).toBe(0);
    expect((await say('ack', 'asked the owner')).status).toBe(0);
    expect((await say('resolve', 'a backup job')).status).toBe(0);
    const { stdout } = await run('show INC-1');
    expect(stdout).toMatch(
      /acknowledged by on-call: "on it"\n\S+ +acknowledged by on-call: "asked the owner"\n\S+ +resolved by on-call: "a backup job"\n$/,
    );
  });

  it.each(['', ' ', 'x'.repeat(257), 'two\nlines'])(
    'is one line of at most 256 characters, not %j',
    async (text) => {
      await collector.report(anomalyOf(1));
      const { status, stderr } = await runCli(['incidents', 'ack', 'INC-1', '--comment', text], {
        env: { PLASMAWATCH_URL: collector.url, PLASMAWATCH_API_TOKEN: 'token-of-the-responder' },
      });
      expect(status).toBe(2);
      expect(stderr).toContain('--comment: expected one line of 1 to 256 characters');
      expect((await run('--state acknowledged')).stdout).toBe('No acknowledged incidents.\n');
    },
  );
});
