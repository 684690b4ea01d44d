/** SIGHUP, which a closed terminal and `systemctl reload` send: it reloads the services, and ends nothing. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { packagePath } from '../../common/package.ts';
import { INGEST_PATH } from '../../common/protocol.ts';
import { freePort } from '../support/free-port.ts';
import { Program } from '../support/program.ts';
import { sendReports } from '../support/report-client.ts';
import { sampleAnomaly } from '../support/sample-report.ts';
import { waitFor } from '../support/wait-for.ts';

const MAIN = packagePath('dist/cli/main.cjs');
const TOKEN = 'the-first-token-of-this-test';

describe('SIGHUP', () => {
  let folder: string;
  let program: Program | undefined;
  let child: ChildProcess | undefined;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-hang-up-'));
  });
  afterEach(async () => {
    await program?.kill();
    if (child?.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    await rm(folder, { recursive: true });
  });

  const hangUp = (running: Program): boolean => process.kill(running.pid ?? 0, 'SIGHUP');

  it.each([
    ['replay', ['replay', '-', '--rules', packagePath('rules/object-manager.yaml')]],
    ['flows', ['flows', '-']],
  ])('leaves %s at its work', async (_command, words) => {
    const work = spawn(process.execPath, [MAIN, ...words], { stdio: ['pipe', 'pipe', 'pipe'] });
    child = work;
    const ended = once(work, 'close');
    let output = '';
    work.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    work.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    // A pcap without packets is begun, and the signal comes while its end is waited for.
    const header = Buffer.from(
      'd4c3b2a1020004000000000000000000000004000100 0000'.replaceAll(' ', ''),
      'hex',
    );
    await new Promise((resolve) => work.stdin.write(header, resolve));
    await waitFor(() => hasHandler(work.pid ?? 0), 'the program to be up');
    work.kill('SIGHUP');
    work.stdin.end();
    await ended;
    expect({ signal: work.signalCode, status: work.exitCode, output }).toMatchObject({
      signal: null,
      status: 0,
    });
  });

  it('leaves up at its work', async () => {
    program = new Program(['up', '--demo', '--api-port', '0']);
    await program.said('Ctrl-C ends.');
    hangUp(program);
    await program.said('INCIDENT  INC-1 opened');
    expect(await program.stop()).toBe(1);
  });

  it('lets a collector take other tokens without an end to its work, and refuse what is wrong', async () => {
    const port = await freePort();
    const config = join(folder, 'collector.yaml');
    const token = join(folder, 'token');
    const agents = join(folder, 'agents');
    await writeFile(agents, 'the-first-token-of-agents', { mode: 0o600 });
    const text = `listen: { port: ${port} }\nstore: { path: ':memory:' }\napiTokenFile: ${token}\nagentTokenFile: ${agents}\n`;
    await writeFile(token, TOKEN, { mode: 0o600 });
    await writeFile(config, text);
    program = new Program(['collector', '--config', config, '--log-format', 'json'], {
      env: { XDG_STATE_HOME: folder },
    });
    await program.said('listening on');
    const statusWith = async (bearer: string): Promise<number> =>
      (await fetch(`http://127.0.0.1:${port}/api/agents`, { headers: { authorization: `Bearer ${bearer}` } }))
        .status;
    expect(await statusWith(TOKEN)).toBe(200);
    await writeFile(config, `${text}nonsense: 1\n`);
    hangUp(program);
    await program.said('changed settings refused, those in use stay');
    expect(await statusWith(TOKEN)).toBe(200);
    const second = join(folder, 'second');
    await writeFile(second, 'the-second-token-of-this-test', { mode: 0o600 });
    await writeFile(config, text.replace(token, second));
    hangUp(program);
    await program.said('"settings reloaded"');
    expect([await statusWith(TOKEN), await statusWith('the-second-token-of-this-test')]).toEqual([401, 200]);
    // A renewed file needs no signal.
    await writeFile(second, 'the-third-token-of-this-test', { mode: 0o600 });
    await waitFor(
      async () => (await statusWith('the-third-token-of-this-test')) === 200,
      'the renewed token',
    );
    const url = `http://127.0.0.1:${port}`;
    await sendReports({ url, token: 'the-first-token-of-agents' }, [sampleAnomaly(1)]);
    await writeFile(agents, 'the-second-token-of-agents', { mode: 0o600 });
    await waitFor(
      async () => (await upgradeWith(url, 'the-first-token-of-agents')) === 401,
      'the end of the old token',
    );
    await sendReports({ url, token: 'the-second-token-of-agents', firstSequence: 2 }, [sampleAnomaly(2)]);
    // Without a token it would be open, or closed to everybody: neither is taken over.
    await writeFile(config, text.replace(/apiTokenFile.*/, ''));
    hangUp(program);
    await program.said('no API token is left');
    expect(await statusWith('the-third-token-of-this-test')).toBe(200);
    expect(await program.stop()).toBe(1);
  });
});

/** The status with which an agent with this token is let in (101) or not. */
async function upgradeWith(url: string, token: string): Promise<number | undefined> {
  const socket = new WebSocket(url.replace('http', 'ws') + INGEST_PATH, {
    headers: { authorization: `Bearer ${token}` },
  });
  const [event] = await Promise.race([
    once(socket, 'open').then(() => [{ statusCode: 101 }]),
    once(socket, 'unexpected-response').then(([, response]) => [response as { statusCode?: number }]),
  ]);
  socket.on('error', () => undefined).terminate();
  return event?.statusCode;
}

/** Whether the process handles SIGHUP (the lowest bit of SigCgt, proc(5)). */
async function hasHandler(pid: number): Promise<boolean> {
  const caught = /^SigCgt:\s*(\w+)$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '0';
  return (BigInt(`0x${caught}`) & 1n) === 1n;
}
