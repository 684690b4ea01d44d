import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { dnsClient } from '../../cli/dns.ts';
import { DnsServer } from '../support/dns-server.ts';

const POD = '10.1.0.1';
const NONE = { ipv4: [], ipv6: [] };

describe('dnsClient', () => {
  let server: DnsServer;
  let folder: string;
  beforeEach(async () => {
    server = await DnsServer.open();
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-dns-'));
  });
  afterEach(async () => {
    await server.close();
    await rm(folder, { recursive: true });
  });

  /** Asks with the lines of a resolv.conf. */
  async function ask(name: string, ...lines: readonly string[]) {
    const resolverFile = join(folder, 'resolv.conf');
    await writeFile(resolverFile, lines.join('\n'));
    return dnsClient({ servers: [server.endpoint], resolverFile })(name);
  }

  /** The names that were asked for, each once. */
  function asked(): string[] {
    return [...new Set(server.questions.map((question) => question.split(' ')[1] ?? ''))];
  }

  it('tells the addresses of both families with their time to live', async () => {
    server.set('workers.example', [POD, 'fd00::1', '10.1.0.2']);
    server.ttlSeconds = 7;
    expect(await ask('workers.example.')).toEqual({
      ipv4: [
        { address: POD, ttlSeconds: 7 },
        { address: '10.1.0.2', ttlSeconds: 7 },
      ],
      ipv6: [{ address: 'fd00::1', ttlSeconds: 7 }],
    });
  });

  it('reads an answer that is too long for a datagram', async () => {
    const pods = Array.from({ length: 3000 }, (_, index) => `10.1.${index >> 8}.${index & 255}`);
    server.set('workers.example', pods);
    const { ipv4 } = await ask('workers.example.');
    expect(ipv4?.map(({ address }) => address)).toEqual(pods);
  });

  it.each([['NXDOMAIN'], [[]]] as const)('has no addresses where the server says %s', async (answer) => {
    server.set('workers.example', answer);
    expect(await ask('workers.example.')).toEqual(NONE);
  });

  it('leaves out the family that the server does not answer for', async () => {
    server.set('A workers.example', [POD]);
    server.set('AAAA workers.example', 'SERVFAIL');
    expect(await ask('workers.example.')).toEqual({
      ipv4: [{ address: POD, ttlSeconds: 30 }],
      ipv6: undefined,
    });
  });

  it('rejects where the server answers for neither', async () => {
    server.set('workers.example', 'SERVFAIL');
    await expect(ask('workers.example.')).rejects.toThrow('ESERVFAIL');
  });

  describe('completes a name', () => {
    const KUBERNETES = ['search ray.svc.cluster.local svc.cluster.local', 'options ndots:5 edns0'];

    it.each([
      ['not at all when it ends with a dot', 'workers.', KUBERNETES, ['workers']],
      [
        'of few dots with the search list first',
        'workers.ray',
        KUBERNETES,
        ['workers.ray.ray.svc.cluster.local', 'workers.ray.svc.cluster.local', 'workers.ray'],
      ],
      ['of many dots last', 'a.b', ['search example.com'], ['a.b', 'a.b.example.com']],
      ['with the last of several lines', 'a', ['search one', 'domain two'], ['a.two', 'a']],
      ['with nothing where no line says so', 'a', ['nameserver 10.0.0.10'], ['a']],
    ])('%s', async (_title, name, lines, names) => {
      expect(await ask(name, ...lines)).toEqual(NONE);
      expect(asked()).toEqual(names);
    });

    it('until one has an address', async () => {
      server.set('workers.ray.svc.cluster.local', [POD]);
      const { ipv4 } = await ask('workers', ...KUBERNETES);
      expect(ipv4).toEqual([{ address: POD, ttlSeconds: 30 }]);
      expect(asked()).toEqual(['workers.ray.svc.cluster.local']);
    });

    it.each([
      ['the next name of the list', ['workers.svc.cluster.local'], ['workers.svc.cluster.local']],
      ['the name itself', ['workers'], ['workers.svc.cluster.local', 'workers']],
    ])('past one that cannot be answered, to %s', async (_title, existing, asksAfterwards) => {
      server.set('workers.ray.svc.cluster.local', 'SERVFAIL');
      for (const each of existing) server.set(each, [POD]);
      const { ipv4 } = await ask('workers', ...KUBERNETES);
      expect(ipv4).toEqual([{ address: POD, ttlSeconds: 30 }]);
      expect(asked()).toEqual(['workers.ray.svc.cluster.local', ...asksAfterwards]);
    });

    it('past one of which no server says whether it has IPv6 addresses', async () => {
      server.set('A workers.ray.svc.cluster.local', []);
      server.set('AAAA workers.ray.svc.cluster.local', 'SERVFAIL');
      server.set('workers', [POD]);
      expect(await ask('workers', ...KUBERNETES)).toEqual({
        ipv4: [{ address: POD, ttlSeconds: 30 }],
        ipv6: [],
      });
    });

    it('in vain, and rejects: a name that could not be answered may be the one', async () => {
      server.set('workers.ray.svc.cluster.local', 'SERVFAIL');
      await expect(ask('workers', ...KUBERNETES)).rejects.toThrow('ESERVFAIL');
    });

    it('in vain, and leaves out the family that could not be answered', async () => {
      server.set('A workers.ray.svc.cluster.local', []);
      server.set('AAAA workers.ray.svc.cluster.local', 'SERVFAIL');
      expect(await ask('workers', ...KUBERNETES)).toEqual({ ipv4: [], ipv6: undefined });
    });
  });
});
