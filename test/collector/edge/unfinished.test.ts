import { once } from 'node:events';
import { connect, type AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createServer } from '../../../collector/api/server.ts';
import { Refusals } from '../../../collector/edge/refusals.ts';
import { createCollectorMetrics } from '../../../collector/metrics.ts';
import { silentLogger } from '../../../common/log.ts';
import { makeCertificate, hasOpenssl } from '../../support/certificate.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

/** What a server answers to these bytes before it closes, and whom it has counted. */
async function answerTo(bytes: string, tls?: { cert: string; key: string }) {
  const metrics = createCollectorMetrics();
  const refusals = new Refusals({ clock: new FakeClock(), metrics, logger: silentLogger });
  const options = { listenHost: '127.0.0.1', allowedHosts: [], tokens: [], logger: silentLogger };
  const server = createServer({ ...options, tls, refusals });
  closers.push(() => server.close());
  await server.listen({ host: '127.0.0.1', port: 0 });
  const socket = connect((server.server.address() as AddressInfo).port, '127.0.0.1');
  socket.on('error', () => {});
  let answer = '';
  socket.on('data', (chunk: Buffer) => (answer += chunk.toString('latin1')));
  socket.write(bytes);
  await once(socket, 'close');
  const { values } = await metrics.peersRefused.get();
  return { status: answer.split('\r\n')[0], reasons: values.map(({ labels }) => labels['reason']) };
}

describe('a connection without a request', () => {
  it.each([
    ['no HTTP', 'SSH-2.0-OpenSSH_9.2\r\n\r\n', 'HTTP/1.1 400 Bad Request'],
    [
      'headers without an end',
      `GET / HTTP/1.1\r\nX: ${'x'.repeat(17_000)}`,
      'HTTP/1.1 431 Request Header Fields Too Large',
    ],
    [
      'two lengths',
      'POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
      'HTTP/1.1 400 Bad Request',
    ],
  ])('is answered, closed and counted: %s', async (_name, bytes, status) => {
    expect(await answerTo(bytes)).toEqual({ status, reasons: ['bad-request'] });
  });

  it.skipIf(!hasOpenssl)('is closed and counted: no TLS (needs /usr/bin/openssl)', async () => {
    const { reasons } = await answerTo('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n', await makeCertificate());
    expect(reasons).toEqual(['bad-handshake']);
  });
});
