import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { listFromTable, openSocketList, readActiveOpens } from '../../../agent/process/socket-list.ts';
import { RayletSockets, type ProcessSocket } from '../../../agent/ray/sockets.ts';
import { formatAddress } from '../../../common/address.ts';
import { systemClock } from '../../../common/clock.ts';
import { silentLogger } from '../../../common/log.ts';
import { ANY, HEADING, OWN, PEER, TAIL } from '../../support/socket-table-text.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const LISTENER = `${ANY}:AB18 ${ANY}:0000 0A`;
const ACCEPTED = `${OWN}:AB18 ${PEER}:C350 01`;
const OPENED = `${OWN}:C351 ${PEER}:AB19 01`;
const OF_ANOTHER = `${OWN}:C352 ${PEER}:AB19 01`;
const OPENED_LATER = `${OWN}:C353 ${PEER}:2710 01`;

/** A table of sockets by their inodes. */
function tableOf(sockets: Readonly<Record<number, string>>): string {
  const lines = Object.entries(sockets).map(
    ([inode, ends], slot) => `${slot}: ${ends} ${TAIL} ${inode} 1 0000000000000000 20 4 30 10 -1\n`,
  );
  return HEADING + lines.map((line) => line.padStart(line.length + 3)).join('');
}

const TABLE = { 101: LISTENER, 102: ACCEPTED, 103: OPENED, 900: OF_ANOTHER };

describe('RayletSockets', () => {
  let proc = '';
  let clock: FakeClock;
  let opens: number | undefined;
  let lists: number;
  let scopes: string[];
  let sockets: RayletSockets;
  let raylets = [{ pid: 6316, startTicks: 1, gcsAddress: '10.77.0.10:6379', isProven: true }];
  beforeEach(async () => {
    clock = new FakeClock();
    opens = 1;
    lists = 0;
    scopes = [];
    raylets = [{ pid: 6316, startTicks: 1, gcsAddress: '10.77.0.10:6379', isProven: true }];
    proc = await mkdtemp(join(tmpdir(), 'plasmawatch-proc-'));
    for (const [index, target] of ['socket:[101]', 'socket:[102]', 'socket:[103]', '/dev/null'].entries()) {
      await addLink(`6316/fd/${index}`, target);
    }
    await addFile('self/net/tcp6', tableOf(TABLE));
    await addFile('self/net/tcp', HEADING);
    sockets = new RayletSockets({
      clock,
      raylets: () => Promise.resolve(raylets),
      list: (inodes, scope) => {
        lists++;
        scopes.push(scope);
        return listFromTable(inodes, proc);
      },
      activeOpens: () => opens,
      proc,
    });
  });
  afterEach(() => rm(proc, { recursive: true }));

  async function addFile(path: string, text: string): Promise<void> {
    await mkdir(dirname(join(proc, path)), { recursive: true });
    await writeFile(join(proc, path), text);
  }

  async function addLink(path: string, target: string): Promise<void> {
    await mkdir(dirname(join(proc, path)), { recursive: true });
    await symlink(target, join(proc, path));
  }

  /** The next second's answer, as ends of connections. */
  async function afterSecond(): Promise<string[]> {
    clock.advance(1000);
    return (await sockets.opened()).map(({ remote, remotePort }) => `${formatAddress(remote)}:${remotePort}`);
  }

  it('gives what the raylets opened, and not what they accepted or others opened', async () => {
    expect(await sockets.opened()).toMatchObject([
      { localPort: 50_001, remotePort: 43_801, state: 'established', outgoing: true, listening: false },
    ]);
  });

  it('leaves out connections to the GCS', async () => {
    raylets = [{ pid: 6316, startTicks: 1, gcsAddress: '10.77.0.12:43801', isProven: true }];
    expect(await sockets.opened()).toEqual([]);
  });

  it('has no descriptors looked into of a raylet that is not proven, or is gone', async () => {
    raylets = [
      { pid: 4711, startTicks: 1, gcsAddress: '', isProven: true },
      { pid: 6316, startTicks: 1, gcsAddress: '', isProven: false },
    ];
    expect(await sockets.opened()).toEqual([]);
  });

  it('lists no sockets for five seconds while nobody opens a connection', async () => {
    const first = await sockets.opened();
    for (let second = 1; second < 5; second++) {
      clock.advance(1000);
      expect(await sockets.opened()).toBe(first);
    }
    expect(lists).toBe(1);
    await afterSecond();
    expect(lists).toBe(2);
  });

  it('lists no sockets where other programs open connections', async () => {
    await sockets.opened();
    // Once more for /dev/null's neighbours that may have been about to connect: none here.
    for (let second = 1; second < 5; second++) {
      opens = second + 1;
      await afterSecond();
    }
    expect(lists).toBe(1);
  });

  it('has a connection that the raylet opens in the next second', async () => {
    await sockets.opened();
    await addLink('6316/fd/9', 'socket:[104]');
    await addFile('self/net/tcp6', tableOf({ ...TABLE, 104: OPENED_LATER }));
    opens = 2;
    expect(await afterSecond()).toEqual(['10.77.0.12:43801', '10.77.0.12:10000']);
  });

  it('has it as well where the socket was there before it connected', async () => {
    await addLink('6316/fd/9', 'socket:[104]');
    await sockets.opened();
    await addFile('self/net/tcp6', tableOf({ ...TABLE, 104: OPENED_LATER }));
    opens = 2;
    expect(await afterSecond()).toContain('10.77.0.12:10000');
  });

  it('has it after five seconds where the socket was there long before', async () => {
    await addLink('6316/fd/9', 'socket:[104]');
    for (let second = 0; second < 12; second++) await afterSecond();
    await addFile('self/net/tcp6', tableOf({ ...TABLE, 104: OPENED_LATER }));
    const seen: boolean[] = [];
    for (let second = 0; second < 5; second++) {
      opens = 2;
      seen.push((await afterSecond()).includes('10.77.0.12:10000'));
    }
    expect(seen.at(-1)).toBe(true);
  });

  it('has the connections of a raylet that starts at once', async () => {
    raylets = [];
    expect(await sockets.opened()).toEqual([]);
    raylets = [{ pid: 6316, startTicks: 2, gcsAddress: '', isProven: true }];
    expect(await afterSecond()).toEqual(['10.77.0.12:43801']);
  });

  it('forgets a connection that has ended after five seconds', async () => {
    await sockets.opened();
    await unlink(join(proc, '6316/fd/2'));
    await addFile('self/net/tcp6', tableOf({ 101: LISTENER }));
    for (let second = 0; second < 5; second++) await afterSecond();
    expect(await sockets.opened()).toEqual([]);
  });

  it('looks each second where it is not known how many connections are opened', async () => {
    opens = undefined;
    await sockets.opened();
    await addLink('6316/fd/9', 'socket:[104]');
    await addFile('self/net/tcp6', tableOf({ ...TABLE, 104: OPENED_LATER }));
    expect(await afterSecond()).toContain('10.77.0.12:10000');
  });

  it('has the kernel leave out loopback between two whole lists, and keeps what it knows of it', async () => {
    const ofLoopback = `${OWN}:C360 0000000000000000FFFF00000100007F:2711 01`;
    await addLink('6316/fd/9', 'socket:[104]');
    await addFile('self/net/tcp6', tableOf({ ...TABLE, 104: ofLoopback }));
    expect(await sockets.opened()).toHaveLength(2);
    await addLink('6316/fd/10', 'socket:[105]');
    // What the kernel answers then.
    await addFile('self/net/tcp6', tableOf({ ...TABLE, 105: OPENED_LATER }));
    opens = 2;
    expect(await afterSecond()).toEqual(
      expect.arrayContaining(['10.77.0.12:43801', '127.0.0.1:10001', '10.77.0.12:10000']),
    );
    await unlink(join(proc, '6316/fd/9'));
    for (let second = 0; second < 5; second++) await afterSecond();
    expect(scopes).toEqual(['all', 'elsewhere', 'all']);
    expect(await afterSecond()).not.toContain('127.0.0.1:10001');
  });

  it('has each connection in the next second on a node with 5,000 sockets', async () => {
    const listed = new RayletSockets({
      clock,
      raylets: () => Promise.resolve(raylets),
      list: async (inodes) => ({ ...(await listFromTable(inodes, proc)), listed: 5000 }),
      activeOpens: () => opens,
      proc,
    });
    await listed.opened();
    for (let second = 0; second < 10; second++) {
      await addLink(`6316/fd/${100 + second}`, `socket:[${30_000 + second}]`);
      await addFile('self/net/tcp6', tableOf({ ...TABLE, [30_000 + second]: OPENED_LATER }));
      opens = 2 + second;
      clock.advance(1000);
      expect(await listed.opened()).toContainEqual(expect.objectContaining({ remotePort: 10_000 }));
    }
  });

  it('lists less often the more sockets there are, and every five seconds in any case', async () => {
    const many = Object.fromEntries(Array.from({ length: 20_000 }, (_, index) => [1000 + index, OF_ANOTHER]));
    await addFile('self/net/tcp6', tableOf({ ...TABLE, ...many }));
    for (let second = 0; second < 20; second++) {
      // Each second another connection of the raylet.
      await addLink(`6316/fd/${100 + second}`, `socket:[${30_000 + second}]`);
      opens = second;
      await afterSecond();
    }
    expect(lists).toBe(4);
  });

  it.skipIf(process.platform !== 'linux')('sees the sockets of a real process (needs Linux)', async () => {
    const child = spawn(process.execPath, ['-e', CHILD], { stdio: ['pipe', 'pipe', 'inherit'] });
    const { list, close } = await openSocketList(silentLogger);
    try {
      const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
      const { port, from } = JSON.parse(line) as { port: number; from: number };
      const real = new RayletSockets({
        clock: systemClock,
        raylets: () =>
          Promise.resolve([{ pid: child.pid ?? 0, startTicks: 0, gcsAddress: '', isProven: true }]),
        list,
        activeOpens: readActiveOpens,
      });
      const inWords = ({ local, localPort, remotePort, state }: ProcessSocket): string =>
        [formatAddress(local), localPort, remotePort, state].join(' ');
      expect((await real.opened()).map(inWords)).toEqual([`127.0.0.1 ${from} ${port} established`]);
    } finally {
      close();
      child.stdin.end();
      await once(child, 'exit');
    }
  });
});

/** Listens, connects to itself, tells both ports, and ends with its standard input. */
const CHILD = `
  const net = require('node:net');
  const server = net.createServer((accepted) => {
    console.log(JSON.stringify({ port: server.address().port, from: accepted.remotePort }));
  });
  server.listen(0, '127.0.0.1', () => net.connect(server.address().port, '127.0.0.1'));
  process.stdin.on('end', () => process.exit(0)).resume();`;
