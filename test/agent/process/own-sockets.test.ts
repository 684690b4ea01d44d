import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { OwnSockets } from '../../../agent/process/own-sockets.ts';
import { SockDiag, type SocketEnds } from '../../../agent/process/sock-diag.ts';
import { parseAddress } from '../../../common/address.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const missing = process.platform === 'linux' ? undefined : 'Linux';
/** Connects to the port of its argument and says so. */
const CALLER = `require('node:net').connect(Number(process.argv[1]), '127.0.0.1', () => console.log('there'));`;

describe.skipIf(missing !== undefined)(`OwnSockets (needs ${missing ?? 'nothing more'})`, () => {
  let clock: FakeClock;
  let sockDiag: SockDiag;
  let server: Server;
  let accepted: Promise<Socket>;
  let child: ChildProcess | undefined;

  beforeEach(async () => {
    clock = new FakeClock();
    sockDiag = await SockDiag.open();
    accepted = new Promise((resolve) => {
      server = createServer((socket) => resolve(socket.on('error', () => {})));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  afterEach(async () => {
    child?.kill();
    child = undefined;
    (await accepted).destroy();
    server.close();
    sockDiag.close();
  });

  /** The connection as the caller's socket has it. */
  function ends({ remotePort }: Socket): SocketEnds {
    const loopback = parseAddress('127.0.0.1');
    if (loopback === undefined) throw new Error('no address');
    const { port } = server.address() as AddressInfo;
    return { local: loopback, localPort: remotePort ?? 0, remote: loopback, remotePort: port };
  }

  it('knows a connection of this program, and nothing of one that is gone', async () => {
    const own = new OwnSockets({ clock, sockDiag });
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    const asked = ends(await accepted);
    expect(own.has(asked)).toBe(true);
    socket.destroy();
    await once(socket, 'close');
    expect(own.has(asked)).toBe(false);
  });

  it('takes no connection of another program for its own', async () => {
    child = spawn(process.execPath, ['-e', CALLER, String((server.address() as AddressInfo).port)]);
    await once(child.stdout ?? child, 'data');
    expect(new OwnSockets({ clock, sockDiag }).has(ends(await accepted))).toBe(false);
  });

  it('looks at twenty in a second, and at none without the list of sockets', async () => {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    const asked = ends(await accepted);
    const own = new OwnSockets({ clock, sockDiag });
    const answers = Array.from({ length: 30 }, () => own.has(asked));
    expect(answers.filter(Boolean)).toHaveLength(20);
    clock.advance(1000);
    expect(own.has(asked)).toBe(true);
    expect(new OwnSockets({ clock, sockDiag: undefined }).has(asked)).toBe(false);
    socket.destroy();
  });
});
