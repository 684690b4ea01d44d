import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectionsOf, openedByRaylets, rememberSockets } from '../../../agent/ray/sockets.ts';
import { formatAddress } from '../../../common/address.ts';
import { ANY, HEADING, OWN, PEER, TAIL } from '../../support/socket-table-text.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/** A raylet's table: it listens on 43800, a peer has connected to it, and it has connected to a peer. */
const TABLE =
  HEADING +
  `   0: ${ANY}:AB18 ${ANY}:0000 0A ${TAIL} 101 1 0000000000000000 100 0 0 10 0\n` +
  `   1: ${OWN}:AB18 ${PEER}:C350 01 ${TAIL} 102 1 0000000000000000 20 4 30 10 -1\n` +
  `   2: ${OWN}:C351 ${PEER}:AB19 01 ${TAIL} 103 1 0000000000000000 20 4 30 10 -1\n` +
  `   3: ${OWN}:C352 ${PEER}:AB19 01 ${TAIL} 900 1 0000000000000000 20 4 30 10 -1\n`;

function tableLine(slot: number): string {
  return `${String(slot).padStart(4)}: ${OWN}:C351 ${PEER}:AB19 01 ${TAIL} ${slot} 1 0000000000000000 20 4 30 10 -1\n`;
}

describe('connectionsOf', () => {
  let proc = '';
  beforeEach(async () => {
    proc = await mkdtemp(join(tmpdir(), 'plasmawatch-proc-'));
    for (const [index, target] of ['socket:[101]', 'socket:[102]', 'socket:[103]', '/dev/null'].entries()) {
      await addLink(`6316/fd/${index}`, target);
    }
    await addFile('6316/net/tcp6', TABLE);
    await addFile('6316/net/tcp', HEADING);
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

  it('tells the sockets of the process from those of others, and what it opened from what it accepted', async () => {
    const sockets = await connectionsOf(6316, { proc });
    expect(sockets.map(({ localPort, listening, outgoing }) => [localPort, listening, outgoing])).toEqual([
      [43_800, true, false],
      [43_800, false, false],
      [50_001, false, true],
    ]);
  });

  it('reads a table that is longer than one read', async () => {
    await addFile(
      '6316/net/tcp6',
      HEADING + Array.from({ length: 5000 }, (_, slot) => tableLine(slot)).join(''),
    );
    expect(await connectionsOf(6316, { proc })).toHaveLength(3);
  });

  it('finds nothing of a process that is gone', async () => {
    expect(await connectionsOf(4711, { proc })).toEqual([]);
  });

  it('gives the connections that the raylets opened, but for those to the GCS', async () => {
    const opened = async (gcsAddress: string): Promise<string[]> =>
      (await openedByRaylets([{ pid: 6316, gcsAddress, isProven: true }], { proc })).map(
        ({ remote, remotePort }) => `${formatAddress(remote)}:${remotePort}`,
      );
    expect(await opened('10.77.0.10:6379')).toEqual(['10.77.0.12:43801']);
    expect(await opened('10.77.0.12:43801')).toEqual([]);
  });

  it.skipIf(process.platform !== 'linux')('sees the sockets of a real process (needs Linux)', async () => {
    const child = spawn(process.execPath, ['-e', CHILD], { stdio: ['pipe', 'pipe', 'inherit'] });
    try {
      const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
      const { port, from } = JSON.parse(line) as { port: number; from: number };
      const sockets = await connectionsOf(child.pid ?? 0);
      const summary = sockets.map(({ local, localPort, remotePort, state, outgoing }) =>
        [formatAddress(local), localPort, remotePort, state, outgoing].join(' '),
      );
      expect(summary.toSorted()).toEqual(
        [
          `127.0.0.1 ${port} 0 listen false`,
          `127.0.0.1 ${port} ${from} established false`,
          `127.0.0.1 ${from} ${port} established true`,
        ].toSorted(),
      );
    } finally {
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

describe('rememberSockets', () => {
  it('looks again only after four times as long as a look takes', async () => {
    const clock = new FakeClock();
    let looks = 0;
    const sockets = rememberSockets(clock, () => {
      looks++;
      clock.advance(500);
      return Promise.resolve([]);
    });
    const asked: number[] = [];
    for (let second = 0; second < 10; second++) {
      await sockets();
      asked.push(looks);
      clock.advance(1000);
    }
    expect(asked).toEqual([1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
  });

  it('looks each time where a look takes no time', async () => {
    let looks = 0;
    const sockets = rememberSockets(new FakeClock(), () => {
      looks++;
      return Promise.resolve([]);
    });
    for (let count = 0; count < 3; count++) await sockets();
    expect(looks).toBe(3);
  });

  it('has no descriptors of a raylet looked into that is not proven', async () => {
    expect(await openedByRaylets([{ pid: process.pid, gcsAddress: '', isProven: false }])).toEqual([]);
  });
});
