import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, createServer, type ConnectionOptions } from 'node:tls';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { certifiedAgent, clientCertificate } from '../../../collector/edge/client-certificate.ts';
import { packagePath } from '../../../common/package.ts';
import {
  hasOpenssl,
  issueCertificate,
  makeAuthority,
  makeCertificate,
  type Certificate,
} from '../../support/certificate.ts';

describe('the agent of a certificate', () => {
  it.each<[string | undefined, string | undefined]>([
    ['URI:plasmawatch:/agent/w1', 'w1'],
    ['URI:plasmawatch://example.com/agent/w1', 'w1'],
    ['URI:spiffe://example.com/plasmawatch/agent/w1, IP Address:10.0.0.1', 'w1'],
    ['DNS:w2, URI:plasmawatch:/agent/ray-7.example.com:1', 'ray-7.example.com:1'],
    // Names that anybody's certificate may have.
    [undefined, undefined],
    ['', undefined],
    ['DNS:w1', undefined],
    ['DNS:*', undefined],
    ['email:w1, IP Address:10.0.0.1', undefined],
    ['URI:spiffe://example.com/ns/default/sa/w1', undefined],
    ['URI:spiffe://example.com/user/grafana', undefined],
    ['URI:https://example.com/agent/w1', undefined],
    ['URI:urn:agent:w1', undefined],
    // Almost an agent's.
    ['URI:plasmawatch:/agent/*', undefined],
    ['URI:plasmawatch:/agent/', undefined],
    ['URI:plasmawatch:/agent', undefined],
    ['URI:plasmawatch:agent/w1', undefined],
    ['URI:plasmawatch:/Agent/w1', undefined],
    ['URI:plasmawatch:/agent/w1/', undefined],
    ['URI:plasmawatch:/agent/w1/role/viewer', undefined],
    ['URI:plasmawatch:/agent/w1?name=w2', undefined],
    ['URI:plasmawatch:/agent/w1#w2', undefined],
    ['URI:plasmawatch:/agent/%77%31', undefined],
    ['URI:plasmawatch:/%61gent/w1', undefined],
    ['URI:plasmawatch:/agent%2Fw1', undefined],
    ['URI:plasmawatch:/agent/..', undefined],
    ['URI:plasmawatch:/user/../agent/w1', undefined],
    ['URI:plasmawatch:/agent/w1\0.example.com', undefined],
    ['URI:plasmawatch:/agent/w1\n', undefined],
    ['URI:spiffe://agent/w1', undefined],
    ['URI:spiffe:///agent/w1', undefined],
    ['URI:spiffe://user@example.com/agent/w1', undefined],
    [`URI:plasmawatch:/agent/${'w'.repeat(129)}`, undefined],
    // Which of two would hold, or what follows an entry that cannot be read, is a guess.
    ['URI:plasmawatch:/agent/w1, URI:plasmawatch:/agent/w2', undefined],
    ['URI:plasmawatch:/agent/w1, URI:spiffe://example.com/user/grafana', undefined],
    ['URI:"spiffe://example.com/, URI:plasmawatch:/agent/w2"', undefined],
    ['URI:"spiffe://example.com/, URI:plasmawatch:/agent/w2', undefined],
    ['othername:"msUPN:a\\", URI:plasmawatch:/agent/w2", DNS:w1', undefined],
    ['DNS:w1, not an entry, URI:plasmawatch:/agent/w2', undefined],
  ])('with the alternative names %j is %j', (subjectaltname, agent) => {
    expect(certifiedAgent(subjectaltname === undefined ? {} : { subjectaltname })).toBe(agent);
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

  /** A server that tells each client what its certificate says, and a way to ask it. */
  async function listen(ca = authority.cert) {
    const listener = createServer(
      { ...server, ca, requestCert: true, rejectUnauthorized: false },
      (socket) => {
        socket.end(JSON.stringify(clientCertificate(socket) ?? null));
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
      return { certificate: JSON.parse(said) as unknown, session, isResumed };
    };
  }

  it('is the agent of its certificate, in a resumed session too', async () => {
    const ask = await listen();
    const extensions = ['subjectAltName=DNS:w1.example.com,URI:spiffe://example.com/agent/node-1'];
    const client = await issueCertificate({ subject: '/CN=w1', extensions, authority });
    const first = await ask(client);
    expect(first.certificate).toEqual({ agent: 'node-1' });
    const second = await ask({ ...client, session: first.session });
    expect(second).toMatchObject({ certificate: first.certificate, isResumed: true });
  });

  it('has none with a certificate of somebody else, of its own, or for servers only', async () => {
    const ask = await listen();
    const other = await issueCertificate({ subject: '/CN=w1', authority: await makeAuthority() });
    const forServers = { subject: '/CN=w1', authority, extensions: ['extendedKeyUsage=serverAuth'] };
    for (const client of [other, await makeCertificate(), await issueCertificate(forServers)]) {
      const { certificate, session } = await ask(client);
      expect(certificate).toBeNull();
      expect((await ask({ ...client, session })).certificate).toBeNull();
    }
  });

  it('is no agent with a certificate of the authority that names none', async () => {
    const ask = await listen();
    const viewer = await issueCertificate({
      subject: '/CN=w1',
      extensions: ['subjectAltName=DNS:w1,DNS:*,email:w1@example.com'],
      authority,
    });
    expect((await ask(viewer)).certificate).toEqual({});
  });

  it('has none without a certificate, not even in a session that it resumes', async () => {
    const ask = await listen();
    const { certificate, session } = await ask({});
    expect(certificate).toBeNull();
    expect(await ask({ session })).toMatchObject({ certificate: null, isResumed: true });
  });

  it('is an agent with the certificate that the commands of the manual make', async () => {
    const manual = await readFile(packagePath('docs/install.md'), 'utf8');
    const commands = /^openssl req -x509[^`]*?-out w1\.pem$/m.exec(manual)?.[0] ?? '';
    const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-manual-'));
    closers.push(() => rm(folder, { recursive: true }));
    execFileSync('/bin/sh', ['-e', '-c', commands], { cwd: folder, stdio: 'ignore' });
    const pem = (name: string) => readFile(join(folder, name), 'utf8');
    const certificate = { cert: await pem('w1.pem'), key: await pem('w1.key') };
    const ask = await listen(await pem('clients-ca.pem'));
    expect((await ask(certificate)).certificate).toEqual({ agent: 'w1' });
  });
});
