import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type ConnectionOptions, type PeerCertificate } from 'node:tls';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { certifiedNames, namesOf } from '../../../collector/edge/client-certificate.ts';
import {
  hasOpenssl,
  issueCertificate,
  makeAuthority,
  makeCertificate,
  type Certificate,
} from '../../support/certificate.ts';

describe('the names of a certificate', () => {
  it.each<[string, string | undefined, string[]]>([
    ['w1', undefined, ['w1']],
    ['w1', 'DNS:w1.example.com, DNS:w1', ['w1', 'w1.example.com']],
    ['', 'URI:spiffe://example.com/plasmawatch/agent/w1, IP Address:10.0.0.1', ['w1']],
    ['', 'URI:spiffe://example.com/ns/default/sa/w1', []],
    ['', 'URI:spiffe://example.com/agent/w1/agent/', []],
    ['', 'URI:"spiffe://example.com/, DNS:w2", DNS:w1', ['w1']],
    ['', 'othername:"msUPN:a\\", DNS:w2", DNS:w1', ['w1']],
    ['', 'DNS:w1, not an entry, DNS:w2', ['w1']],
    ['w1\0.example.com', undefined, ['w1\0.example.com']],
  ])('with the common name %j and %j are %j', (commonName, subjectaltname, names) => {
    const certificate = { subject: { CN: commonName }, subjectaltname } as Partial<PeerCertificate>;
    const given = namesOf(certificate as PeerCertificate);
    expect([...given].filter((name) => name !== '').toSorted()).toEqual(names);
  });
});

describe.skipIf(!hasOpenssl)('a client (needs /usr/bin/openssl)', () => {
  let authority: Certificate;
  let server: Certificate;
  const closers: (() => Promise<unknown>)[] = [];
  beforeAll(async () => {
    authority = await makeAuthority();
    server = await makeCertificate();
  });
  afterEach(async () => {
    for (const close of closers.splice(0)) await close();
  });

  /** A server that tells each client its names, and a way to ask it. */
  async function listen() {
    const listener = createServer(
      { ...server, ca: authority.cert, requestCert: true, rejectUnauthorized: false },
      (socket) => {
        const names = certifiedNames(socket);
        socket.end(JSON.stringify(names === undefined ? null : [...names]));
      },
    );
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    closers.push(() => once(listener.close(), 'close'));
    const { port } = listener.address() as AddressInfo;
    return async (options: ConnectionOptions) => {
      const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options });
      let said = '';
      let session: Buffer | undefined;
      let isResumed = false;
      socket.on('secureConnect', () => (isResumed = socket.isSessionReused()));
      socket.on('session', (ticket: Buffer) => (session = ticket));
      socket.on('data', (chunk: Buffer) => (said += chunk.toString()));
      await once(socket, 'close');
      return { names: JSON.parse(said) as unknown, session, isResumed };
    };
  }

  it('has the names of its certificate, in a resumed session too', async () => {
    const ask = await listen();
    const extensions = ['subjectAltName=DNS:w1.example.com,URI:spiffe://example.com/agent/node-1'];
    const client = await issueCertificate({ subject: '/CN=w1', extensions, authority });
    const first = await ask(client);
    expect(first.names).toEqual(['w1', 'w1.example.com', 'node-1']);
    const second = await ask({ ...client, session: first.session });
    expect(second).toMatchObject({ names: first.names, isResumed: true });
  });

  it('has none with a certificate of somebody else, of its own, or for servers only', async () => {
    const ask = await listen();
    const other = await issueCertificate({ subject: '/CN=w1', authority: await makeAuthority() });
    const forServers = { subject: '/CN=w1', authority, extensions: ['extendedKeyUsage=serverAuth'] };
    for (const client of [other, await makeCertificate(), await issueCertificate(forServers)]) {
      const { names, session } = await ask(client);
      expect(names).toBeNull();
      expect((await ask({ ...client, session })).names).toBeNull();
    }
  });

  it('has none without a certificate, not even in a session that it resumes', async () => {
    const ask = await listen();
    const { names, session } = await ask({});
    expect(names).toBeNull();
    expect(await ask({ session })).toMatchObject({ names: null, isResumed: true });
  });
});
