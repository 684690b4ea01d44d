import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { SockDiag, type SocketEnds } from '../../../agent/process/sock-diag.ts';
import { SocketRoles } from '../../../agent/process/socket-roles.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { isLoopback, parseAddress, type Address } from '../../../common/address.ts';

const missing = process.platform === 'linux' ? undefined : 'Linux';

describe.skipIf(missing !== undefined)(`the role of a socket (needs ${missing ?? 'nothing more'})`, () => {
  let sockDiag: SockDiag;
  const open: (Server | Socket)[] = [];

  beforeAll(async () => {
    sockDiag = await SockDiag.open();
    return () => sockDiag.close();
  });

  afterEach(() => {
    for (const one of open.splice(0)) {
      if ('destroy' in one) one.destroy();
      else one.close();
    }
  });

  /** A connection over loopback: the ends as the client's socket has them. */
  async function connection(
    host: string,
  ): Promise<{ client: SocketEnds; server: SocketEnds; listener: Server }> {
    const listener = createServer((socket) => open.push(socket)).listen(0, host);
    open.push(listener);
    await once(listener, 'listening');
    const { port } = listener.address() as AddressInfo;
    const socket = connect({ port, host: host === '::' ? '127.0.0.1' : host });
    open.push(socket);
    await once(socket, 'connect');
    const local = address(socket.localAddress);
    const client = { local, localPort: socket.localPort ?? 0, remote: local, remotePort: port };
    const server = { local, localPort: port, remote: local, remotePort: client.localPort };
    return { client, server, listener };
  }

  const roles = (isLocal: (address: Address) => boolean = isLoopback): SocketRoles =>
    new SocketRoles({ isLocal, sockDiag, clock: new FakeClock() });

  it.each(['127.0.0.1', '::1', '::'])(
    'is told for both ends of a connection to a listener at %s',
    async (host) => {
      const { client, server } = await connection(host);
      expect([roles().of(server), roles().of(client)]).toEqual(['server', 'client']);
    },
  );

  it('is not known of a connection that is not there', async () => {
    const { client } = await connection('127.0.0.1');
    expect(roles().of({ ...client, remotePort: 1 })).toBeUndefined();
  });

  it('is not known of an address that is none of this machine', async () => {
    const { server } = await connection('127.0.0.1');
    expect(roles(() => false).of(server)).toBeUndefined();
  });

  it('is not known where the kernel offers no list of sockets', async () => {
    const { server } = await connection('127.0.0.1');
    expect(
      new SocketRoles({ isLocal: isLoopback, sockDiag: undefined, clock: new FakeClock() }).of(server),
    ).toBeUndefined();
  });

  it('is that of a client where a port is used without listening, and then that of a server once somebody listens', async () => {
    const { client } = await connection('127.0.0.1');
    expect(roles().of(client)).toBe('client');
    expect(sockDiag.listensAt(client.local, client.localPort)).toBe(false);
    expect(sockDiag.listensAt(client.local, client.remotePort)).toBe(true);
  });
});

describe('the role of a socket in a flood', () => {
  const local = address('10.0.0.1');
  const ends = (localPort: number, remotePort: number): SocketEnds => ({
    local,
    localPort,
    remote: address('192.0.2.9'),
    remotePort,
  });

  function flooded(): { roles: SocketRoles; clock: FakeClock; listening: Set<number>; asked: () => number } {
    let asked = 0;
    const listening = new Set([43_800]);
    const clock = new FakeClock();
    const roles = new SocketRoles({
      isLocal: () => true,
      sockDiag: {
        listensAt(_local, port) {
          asked++;
          return listening.has(port);
        },
        find() {
          asked++;
          return undefined;
        },
      },
      clock,
    });
    return { roles, clock, listening, asked: () => asked };
  }

  it('costs one question a second for a listener, however many call it', () => {
    const { roles, clock, asked } = flooded();
    const told = new Set<unknown>();
    for (let call = 0; call < 100_000; call++) {
      if (call % 10_000 === 0) clock.advance(1000);
      told.add(roles.of(ends(43_800, call & 0xffff)));
    }
    expect([...told]).toEqual(['server']);
    expect(asked()).toBe(10);
  });

  it('costs a bounded number of questions for ports where nobody listens, and still tells of the listener', () => {
    const { roles, clock, asked } = flooded();
    expect(roles.of(ends(43_800, 1))).toBe('server');
    for (let call = 0; call < 100_000; call++) roles.of(ends(50_000 + (call % 10_000), call & 0xffff));
    expect(asked()).toBeLessThan(5000);
    clock.advance(2000);
    for (let call = 0; call < 100_000; call++) roles.of(ends(50_000 + (call % 10_000), call & 0xffff));
    expect(roles.of(ends(43_800, 1))).toBe('server');
  });

  it('is told anew where a listener has gone, and where one has come', () => {
    const { roles, clock, listening } = flooded();
    expect([roles.of(ends(43_800, 1)), roles.of(ends(43_801, 1))]).toEqual(['server', undefined]);
    listening.clear();
    listening.add(43_801);
    expect(roles.of(ends(43_801, 1))).toBe('server');
    clock.advance(1000);
    expect(roles.of(ends(43_800, 1))).toBeUndefined();
  });
});

function address(text: string | undefined): Address {
  const parsed = parseAddress((text ?? '').replace('::ffff:', ''));
  if (parsed === undefined) throw new Error(`no address: ${text}`);
  return parsed;
}
