import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCli } from '../support/run-cli.ts';
import { startCollector, type RunningCollector } from '../support/running-collector.ts';

let collector: RunningCollector;

beforeAll(async () => {
  collector = await startCollector();
});
afterAll(() => collector.stop());

const run = (words: string, role = 'admin') =>
  runCli(words.split(' '), {
    env: { PLASMAWATCH_URL: collector.url, PLASMAWATCH_API_TOKEN: `token-of-the-${role}` },
  });

describe('plasmawatch enrolments', () => {
  it('lists one-time tokens that no agent has exchanged, and revokes one', async () => {
    expect((await run('enrolments')).stdout).toBe('No pending enrolments.\n');
    const token = (await run('agents enrol w7')).stdout;
    await run('agents enrol w8');
    const listed = await run('enrolments list');
    expect(listed.status).toBe(0);
    expect(listed.stdout).toMatch(/^agent {2}token expires\nw7 +\d{4}-\S+Z\nw8 +\d{4}-\S+Z\n$/);
    expect(listed.stdout).not.toContain(token.trim());
    expect((await run('enrolments revoke w7')).stdout).toBe('the one-time token of w7 is revoked\n');
    const rest = (await run('enrolments --json')).stdout;
    expect(JSON.parse(rest)).toMatchObject({ type: 'enrolment', agent: 'w8' });
    expect((await run('audit --subject w7')).stdout).toContain('agent.enrol-revoke');
  });

  it('is for admins, and says that there is no such token', async () => {
    expect((await run('enrolments', 'responder')).stderr).toContain('this needs the role admin');
    expect((await run('enrolments revoke w8', 'responder')).status).toBe(2);
    const { status, stderr } = await run('enrolments revoke nobody');
    expect(status).toBe(2);
    expect(stderr).toContain('there is no such pending enrolment');
  });
});

describe('plasmawatch agents', () => {
  it('says what a name is made of', async () => {
    const { status, stderr } = await runCli(['agents', 'enrol', 'bad name/..'], {
      env: { PLASMAWATCH_URL: collector.url, PLASMAWATCH_API_TOKEN: 'token-of-the-admin' },
    });
    expect(status).toBe(2);
    expect(stderr).toContain('the name of an agent has letters, digits and . _ : - only, 128 at most');
  });

  it('says that it knows no agent of a name', async () => {
    expect(await run('agents show w99')).toMatchObject({
      status: 2,
      stderr: 'plasmawatch: the collector has never heard of an agent w99; see plasmawatch agents [PW_API]\n',
    });
  });
});
