import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { SocketDump } from '../../../agent/process/socket-dump.ts';
import { socketInodesOf } from '../../../agent/process/socket-holder.ts';
import { readActiveOpens } from '../../../agent/process/socket-list.ts';
import { readListeners, readSocketTable, type TableEntry } from '../../../agent/process/socket-table.ts';

const isLinux = process.platform === 'linux';

/** Lets connections be open on loopback, of IPv4 and, where there is one, IPv6. */
async function withSockets(count: number, work: (ports: readonly number[]) => Promise<void>): Promise<void> {
  const sockets: Socket[] = [];
  const servers = ['127.0.0.1', '::1'].map((host) => {
    const server = createServer((socket) => sockets.push(socket));
    return server.listen(0, host);
  });
  try {
    await Promise.all(servers.map((server) => once(server, 'listening')));
    const ports = servers.map((server) => (server.address() as AddressInfo).port);
    for (const [index, port] of ports.entries()) {
      for (let made = 0; made < count; made++) {
        const socket = connect({ host: index === 0 ? '127.0.0.1' : '::1', port });
        sockets.push(socket);
        await once(socket, 'connect');
      }
    }
    await work(ports);
  } finally {
    for (const socket of sockets) socket.destroy();
    for (const server of servers) server.close();
  }
}

function inOrder(entries: readonly TableEntry[]): TableEntry[] {
  return entries.toSorted((a, b) => a.inode - b.inode);
}

describe.skipIf(!isLinux)('the sockets of this network namespace (needs Linux)', () => {
  it('are the same over netlink and in the table of text', async () => {
    await withSockets(300, async () => {
      const dump = await SocketDump.open();
      try {
        const own = (await socketInodesOf('/proc', process.pid)) ?? new Set();
        const [{ entries, listed }, other] = await Promise.all([dump.list(own), dump.list(new Set())]);
        const table = await readSocketTable('/proc', 'self', ({ inode }) => own.has(inode));
        expect(entries.length).toBeGreaterThanOrEqual(1202);
        expect(inOrder(entries)).toEqual(inOrder(table));
        expect(listed).toBeGreaterThanOrEqual(entries.length);
        expect(other.entries).toEqual([]);
      } finally {
        dump.close();
      }
    });
  });

  it('are left out by the kernel where they are connected to 127.0.0.0/8, those of IPv6 sockets as well', async () => {
    await withSockets(300, async (ports) => {
      const mapped = connect({ host: '::ffff:127.0.0.1', port: ports[0] ?? 0 });
      await once(mapped, 'connect');
      const dump = await SocketDump.open();
      try {
        const own = (await socketInodesOf('/proc', process.pid)) ?? new Set();
        const all = await dump.list(own);
        const { entries, listed } = await dump.list(own, 'elsewhere');
        expect(listed).toBeLessThanOrEqual(all.listed - 600);
        const isOfLoopback = ({ remote }: TableEntry): boolean => remote.w3 >>> 24 === 127;
        expect(inOrder(entries)).toEqual(inOrder(all.entries.filter((entry) => !isOfLoopback(entry))));
        expect(entries.filter(({ state }) => state === 'listen').length).toBeGreaterThanOrEqual(2);
        expect(entries.length).toBeGreaterThanOrEqual(602);
      } finally {
        mapped.destroy();
        dump.close();
      }
    });
  });

  it('begin with the listening ones in the table, so that no connection has to be read', async () => {
    await withSockets(300, async (ports) => {
      const listeners = await readListeners('/proc', 'self', () => true);
      const all = await readSocketTable('/proc', 'self', ({ state }) => state === 'listen');
      expect(inOrder(listeners)).toEqual(inOrder(all));
      expect(listeners.map(({ localPort }) => localPort)).toEqual(expect.arrayContaining([...ports]));
    });
  });

  it('are counted when one is opened', async () => {
    const before = readActiveOpens() ?? NaN;
    await withSockets(3, () => Promise.resolve());
    expect((readActiveOpens() ?? NaN) - before).toBeGreaterThanOrEqual(6);
  });
});

describe('readActiveOpens', () => {
  it('is unknown where the kernel does not tell it', () => {
    expect(readActiveOpens('/proc/no-such-folder')).toBeUndefined();
  });
});
