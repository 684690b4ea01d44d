import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { httpGet } from '../../../agent/ray/http-get.ts';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

/** Serves, and gives the URL. */
async function serve(answer: RequestListener, host = '127.0.0.1'): Promise<string> {
  const server = createServer(answer).listen(0, host);
  servers.push(server);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}/nodes?view=summary`;
}

function ask(url: string, signal = new AbortController().signal): ReturnType<typeof httpGet> {
  return httpGet(url, { headers: { authorization: 'Bearer t' }, signal, redirect: 'error' });
}

async function textOf(body: AsyncIterable<Uint8Array> | null): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of body ?? []) parts.push(part);
  return Buffer.concat(parts).toString();
}

describe('httpGet', () => {
  it.each(['127.0.0.1', '::1'])('gives what a server at %s answers, whatever its length', async (host) => {
    const long = 'x'.repeat(3_000_000);
    const url = await serve((request, response) => {
      response.end(`${request.url} ${request.headers.authorization} ${long}`);
    }, host);
    const { status, ok, body } = await ask(url);
    expect([status, ok]).toEqual([200, true]);
    expect(await textOf(body)).toBe(`/nodes?view=summary Bearer t ${long}`);
  });

  it('says who asks, or the dashboards of many versions of Ray fail', async () => {
    const url = await serve((request, response) => {
      // As Ray up to 2.48 does.
      response.statusCode = request.headers['user-agent'] === undefined ? 500 : 200;
      response.end();
    });
    expect((await ask(url)).status).toBe(200);
  });

  it('asks again over the same connection', async () => {
    const sockets = new Set<Socket>();
    const url = await serve((request, response) => {
      sockets.add(request.socket);
      response.end('here');
    });
    for (let question = 0; question < 3; question++) await textOf((await ask(url)).body);
    expect(sockets.size).toBe(1);
  });

  it.each([302, 401, 500])('follows no redirect and reads no text of an error: %i', async (code) => {
    let asked = 0;
    const url = await serve((_request, response) => {
      asked++;
      response.writeHead(code, { location: '/elsewhere' }).write('x'.repeat(1000));
    });
    expect(await ask(url)).toEqual({ status: code, ok: false, body: null });
    expect(asked).toBe(1);
  });

  it('rejects with the reason of the signal, before the answer as well as in the middle of it', async () => {
    const silent = await serve(() => {});
    const first = new AbortController();
    const asked = ask(silent, first.signal);
    first.abort(new Error('two seconds are over'));
    await expect(asked).rejects.toThrow('two seconds are over');

    const endless = await serve((_request, response) => {
      response.write('{');
    });
    const second = new AbortController();
    const { body } = await ask(endless, second.signal);
    const read = textOf(body);
    second.abort(new Error('two seconds are over'));
    await expect(read).rejects.toThrow('two seconds are over');
    await expect(ask(endless, second.signal)).rejects.toThrow('two seconds are over');
  });

  it('raises what cuts an answer off, and nothing where nobody reads it', async () => {
    const url = await serve((request, response) => {
      response.writeHead(200, { 'content-length': 100 }).write('{');
      setImmediate(() => request.socket.destroy());
    });
    await expect(textOf((await ask(url)).body)).rejects.toThrow('aborted');
    await ask(url);
  });

  it('says who could not be reached', async () => {
    const url = await serve(() => {});
    const [server] = servers.splice(0);
    server?.close();
    await expect(ask(url)).rejects.toThrow('ECONNREFUSED');
  });

  it('ends the connection of an answer that is not read to its end', async () => {
    let closed: Promise<void> | undefined;
    const url = await serve((request, response) => {
      request.socket.on('error', () => {});
      closed = new Promise((resolve) => request.socket.on('close', () => resolve()));
      response.write('x'.repeat(100_000));
    });
    const { body } = await ask(url);
    for await (const part of body ?? []) {
      expect(part.length).toBeGreaterThan(0);
      break;
    }
    await closed;
  });
});
