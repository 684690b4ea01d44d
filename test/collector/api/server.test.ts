import os from 'node:os';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createServer, listen } from '../../../collector/api/server.ts';
import { silentLogger } from '../../../common/log.ts';

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const close of closers.splice(0)) await close();
});

function open() {
  const server = createServer({ listenHost: '0.0.0.0', allowedHosts: [], tokens: [], logger: silentLogger });
  server.get('/open', { config: { role: 'anyone' } }, () => ({ answered: true }));
  closers.push(() => server.close());
  return server;
}

describe('listen', () => {
  it.each(['0.0.0.0', '127.0.0.1'])(
    'on %s does not ask for the addresses of the machine, which the unit forbids',
    async (host) => {
      const asked = vi.spyOn(os, 'networkInterfaces').mockImplementation(() => {
        throw new Error('Unknown system error 97');
      });
      const server = open();
      await listen(server, host, 0);
      const { port } = server.server.address() as AddressInfo;
      const answer = await fetch(`http://127.0.0.1:${port}/open`);
      expect(await answer.json()).toEqual({ answered: true });
      expect(asked).not.toHaveBeenCalled();
    },
  );

  it('fails where the port is taken', async () => {
    const first = open();
    await listen(first, '127.0.0.1', 0);
    const { port } = first.server.address() as AddressInfo;
    await expect(listen(open(), '127.0.0.1', port)).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });

  it('is over at once when the server is closed, whoever holds a connection open', async () => {
    const server = open();
    await listen(server, '127.0.0.1', 0);
    const { port } = server.server.address() as AddressInfo;
    // Kept open by the client for the next request.
    await (await fetch(`http://127.0.0.1:${port}/open`)).text();
    await server.close();
    expect(server.server.listening).toBe(false);
  });
});
