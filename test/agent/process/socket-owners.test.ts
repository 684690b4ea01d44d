import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { ownerInWords, SocketOwners } from '../../../agent/process/socket-owners.ts';
import { SockDiag, type SocketEnds } from '../../../agent/process/sock-diag.ts';
import { parseAddress, type Address } from '../../../common/address.ts';
import { compile } from '../../support/compile.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { waitFor } from '../../support/wait-for.ts';

const isLinux = process.platform === 'linux';
const isRoot = process.getuid?.() === 0;
const NOBODY = 65_534;

/** Connects to the port of its first argument, says so, and ends with its standard input. */
const CLIENT = `
  const socket = require('node:net').connect(Number(process.argv[1]), process.argv[2], () => console.log(socket.localPort));
  process.stdin.on('end', () => process.exit(0)).resume();`;

describe.skipIf(!isLinux)('SocketOwners (needs Linux)', () => {
  let server: Server;
  let accepted: Socket[];
  let clients: ChildProcess[];
  let clock: FakeClock;

  beforeEach(async () => {
    accepted = [];
    clients = [];
    clock = new FakeClock();
    server = createServer((socket) => accepted.push(socket.on('error', () => {}))).listen(0, '::');
    await once(server, 'listening');
  });

  afterEach(async () => {
    for (const client of clients) {
      if (client.exitCode === null && client.signalCode === null) {
        client.stdin?.end();
        await once(client, 'exit');
      }
    }
    for (const socket of accepted) socket.destroy();
    server.close();
  });

  /** A program of its own that has a connection to the server; its end of it. */
  async function startClient(
    words: readonly string[] = [],
    { host = '127.0.0.1', user }: { host?: string; user?: number } = {},
  ): Promise<{ pid: number; ends: SocketEnds }> {
    const client = spawn(process.execPath, ['-e', CLIENT, String(serverPort()), host, ...words], {
      stdio: ['pipe', 'pipe', 'inherit'],
      ...(user === undefined ? {} : { uid: user, gid: user }),
    });
    clients.push(client);
    const [line] = (await once(createInterface(client.stdout), 'line')) as [string];
    return { pid: client.pid ?? 0, ends: endsOf(Number(line), host) };
  }

  function serverPort(): number {
    return (server.address() as AddressInfo).port;
  }

  function endsOf(localPort: number, host = '127.0.0.1'): SocketEnds {
    return { local: address(host), localPort, remote: address(host), remotePort: serverPort() };
  }

  const ways: [string, () => Promise<SocketOwners>][] = [
    ['the kernel', async () => new SocketOwners({ clock, sockDiag: await SockDiag.open() })],
    ['the table', () => Promise.resolve(new SocketOwners({ clock, sockDiag: undefined }))],
  ];

  describe.each(ways)('asking %s', (_way, open) => {
    let owners: SocketOwners;
    beforeEach(async () => {
      owners = await open();
    });
    afterEach(() => owners.close());

    it.each(['127.0.0.1', '::1'])('finds the program at an end, over %s', async (host) => {
      const { pid, ends } = await startClient(['--token', 'hunter2'], { host });
      const owner = await owners.find(ends);
      expect(owner?.process).toMatchObject({ pid, userId: process.getuid?.(), executable: process.execPath });
      expect(owner?.description).toMatchObject({
        process: { pid, executable: process.execPath },
        user: { id: String(process.getuid?.()) },
      });
      const started = Date.parse(owner?.description.process?.start ?? '');
      expect(Math.abs(Date.now() - started)).toBeLessThan(60_000);
      expect(owner?.description.process?.command_line).toMatch(/--token \*\*\*$/);
      expect(JSON.stringify(owner)).not.toContain('hunter2');
    });

    it('finds a socket of IPv6 that talks IPv4: the end of the server', async () => {
      const { ends } = await startClient();
      const { local, localPort, remote, remotePort } = ends;
      const owner = await owners.find({
        local: remote,
        localPort: remotePort,
        remote: local,
        remotePort: localPort,
      });
      expect(owner?.process?.pid).toBe(process.pid);
    });

    it('finds nobody once the connection has ended, though its port is listened on', async () => {
      const { pid, ends } = await startClient();
      process.kill(pid, 'SIGKILL');
      await waitFor(() => clients[0]?.signalCode !== null, 'the end of the client');
      expect(await owners.find(ends)).toBeUndefined();
      const { local, localPort, remote, remotePort } = ends;
      accepted[0]?.destroy();
      await waitFor(async () => {
        const other = { local: remote, localPort: remotePort, remote: local, remotePort: localPort };
        return (await owners.find(other)) === undefined;
      }, 'the end of the connection');
      expect(owners.counters.unattributed).toBeGreaterThanOrEqual(2);
    });

    it.skipIf(!isRoot)('names the user of a program of somebody else (needs root)', async () => {
      const { pid, ends } = await startClient([], { user: NOBODY });
      const owner = await owners.find(ends);
      expect(owner).toMatchObject({ userId: NOBODY, process: { pid, userId: NOBODY } });
      expect(owner?.description.user).toEqual({ id: String(NOBODY), name: 'nobody' });
    });
  });

  it('looks twenty times in a second, and counts what it turns away', async () => {
    const owners = new SocketOwners({ clock, sockDiag: await SockDiag.open() });
    const { pid, ends } = await startClient();
    const first = [];
    for (let look = 0; look < 25; look++) first.push(await owners.find(ends));
    expect(first.filter((owner) => owner?.process?.pid === pid)).toHaveLength(20);
    expect(owners.counters).toEqual({
      looks: 20,
      unattributed: 0,
      givenUp: 0,
      turnedAway: 5,
      overdueReads: 0,
    });
    // Of the others it tells whose they are.
    expect(first.slice(20).map((owner) => owner?.userId)).toEqual(Array(5).fill(process.getuid?.()));
    expect(first.slice(20).map((owner) => owner?.process)).toEqual(Array(5).fill(undefined));
    clock.advance(1000);
    expect((await owners.find(ends))?.process?.pid).toBe(pid);
    owners.close();
  });

  it.skipIf(!isRoot)(
    'tells only the user where the process may not be looked into (needs root)',
    async () => {
      const { ends } = await startClient();
      const { folder, remove } = await compile(
        'agent/process/socket-owners.ts',
        'agent/process/sock-diag.ts',
      );
      onTestFinished(remove);
      // In a process without any capability, of another user than the client's.
      const looker = spawn(process.execPath, ['--input-type=module', '-e', lookAt(ends, folder)], {
        stdio: ['ignore', 'pipe', 'inherit'],
        uid: NOBODY,
        gid: NOBODY,
      });
      const [line] = (await once(createInterface(looker.stdout), 'line')) as [string];
      expect(JSON.parse(line)).toEqual({
        owner: { userId: 0, description: { user: { id: '0', name: 'root' } } },
        counters: { looks: 1, unattributed: 1, givenUp: 0, turnedAway: 0, overdueReads: 0 },
      });
    },
  );
});

it('puts an owner in words', () => {
  const process = { pid: 812, name: 'nc', command_line: 'nc 10.0.0.2 43800' };
  expect(ownerInWords({ process, user: { id: '0', name: 'root' } })).toBe(
    'process 812 of user root (nc 10.0.0.2 43800)',
  );
  expect(ownerInWords({ process: { pid: 812, name: 'nc' } })).toBe('process 812 (nc)');
  expect(ownerInWords({ user: { id: '1000' } })).toBe('a process of user 1000');
});

/** A program that looks up these ends with the compiled files in the folder. */
function lookAt(ends: SocketEnds, folder: string): string {
  return `
    import { SocketOwners } from '${folder}/agent/process/socket-owners.js';
    import { SockDiag } from '${folder}/agent/process/sock-diag.js';
    const owners = new SocketOwners({ clock: { monotonic: () => 0 }, sockDiag: await SockDiag.open() });
    const owner = await owners.find(${JSON.stringify(ends)});
    console.log(JSON.stringify({ owner, counters: owners.counters }));`;
}

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(`no address: ${text}`);
  return parsed;
}
