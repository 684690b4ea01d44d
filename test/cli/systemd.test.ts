import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Systemd, type ServiceState } from '../../cli/systemd.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { ReceivingSocket } from '../support/notify-socket.ts';

const logged: string[] = [];
const log = (_fields: object, message: string): void => void logged.push(message);
const logger = { warn: log, error: log } as never;

describe.skipIf(process.platform !== 'linux')('systemd (needs Linux)', () => {
  let folder: string;
  let path: string;
  let socket: ReceivingSocket;
  let clock: FakeClock;
  let state: ServiceState;
  let systemd: Systemd | undefined;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'plasmawatch-notify-'));
    path = join(folder, 'notify');
    socket = await ReceivingSocket.open(path);
    clock = new FakeClock();
    state = { status: 'watching 1 port' };
    logged.length = 0;
  });
  afterEach(() => {
    systemd?.stopping();
    socket.close();
    rmSync(folder, { recursive: true });
  });

  const open = async (env: Record<string, string> = {}): Promise<Systemd> => {
    systemd = new Systemd({ env: { NOTIFY_SOCKET: path, ...env }, clock, logger, state: () => state });
    await systemd.ready();
    return systemd;
  };

  it('hears that the service has started, what it does, and that it ends', async () => {
    const service = await open();
    expect(socket.messages()).toEqual([['READY=1', 'STATUS=watching 1 port']]);
    clock.advance(60_000);
    expect(socket.messages()).toEqual([]);
    state = { status: 'watching 2 ports\nREADY=1' };
    service.update();
    expect(socket.messages()).toEqual([['STATUS=watching 2 ports READY=1']]);
    service.stopping();
    expect(socket.messages()).toEqual([['STOPPING=1']]);
    expect(clock.pending).toBe(0);
  });

  it.each([20_000, 2000])(
    'is pinged several times within its watchdog of %i ms, as long as the service works',
    async (deadlineMs) => {
      await open({ WATCHDOG_USEC: String(deadlineMs * 1000), WATCHDOG_PID: String(process.pid) });
      socket.messages();
      clock.advance(deadlineMs);
      const pings = socket.messages();
      expect(pings.length).toBeGreaterThanOrEqual(4);
      expect(new Set(pings.flat())).toEqual(new Set(['WATCHDOG=1']));
      state = { status: 'watching 1 port', fault: 'the packet source cannot be opened again' };
      clock.advance(2 * deadlineMs);
      expect(socket.messages()).toEqual([['STATUS=not working: the packet source cannot be opened again']]);
      expect(logged).toEqual(['the service does not do its work: no more pings to systemd']);
      state = { status: 'watching 1 port' };
      clock.advance(deadlineMs / 4);
      expect(socket.messages().flat()).toContain('WATCHDOG=1');
    },
  );

  it('is not pinged for another process, which has the variable from its parent', async () => {
    await open({ WATCHDOG_USEC: '20000000', WATCHDOG_PID: '1' });
    clock.advance(60_000);
    expect(socket.messages().flat()).not.toContain('WATCHDOG=1');
  });

  it('is heard under an abstract name, too', async () => {
    const name = `@plasmawatch-test-${process.pid}`;
    const abstract = await ReceivingSocket.open(name);
    try {
      await open({ NOTIFY_SOCKET: name });
      expect(abstract.messages()).toEqual([['READY=1', 'STATUS=watching 1 port']]);
    } finally {
      abstract.close();
    }
  });

  it('is told nothing where there is none', async () => {
    await open({ NOTIFY_SOCKET: '' });
    expect(clock.pending).toBe(0);
    expect(socket.messages()).toEqual([]);
  });

  it.each(['relative', join('/', 'x'.repeat(200)), '/there/is/none'])(
    'does not stop the service when it cannot be told at %s',
    async (name) => {
      await open({ NOTIFY_SOCKET: name });
      expect(logged).toHaveLength(1);
    },
  );

  it('does not hold the service up when it does not read', async () => {
    const service = await open();
    for (let index = 0; index < 5000; index++) {
      state = { status: `status ${index}` };
      service.update();
    }
    expect(logged).toEqual(['systemd was not notified']);
    socket.messages();
    service.update();
    expect(socket.messages()).toEqual([['STATUS=status 4999']]);
  });
});
