import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KnownMembers } from '../../../agent/detect/known-members.ts';
import { createDnsProvider } from '../../../agent/membership/dns.ts';
import { Membership } from '../../../agent/membership/membership.ts';
import { dnsClient } from '../../../cli/dns.ts';
import { formatAddress, parseAddress } from '../../../common/address.ts';
import { silentLogger } from '../../../common/log.ts';
import { LINGER_MS } from '../../../rules/membership.ts';
import { DnsServer, type NameAnswer } from '../../support/dns-server.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { waitFor } from '../../support/wait-for.ts';

const NAME = 'workers.ray.svc.cluster.local';
const PODS = ['10.1.0.1', '10.1.0.2', '10.1.0.3'];

describe('createDnsProvider', () => {
  let clock: FakeClock;
  let server: DnsServer;
  let membership: Membership;
  let joined: string[];

  beforeEach(async () => {
    clock = new FakeClock();
    server = await DnsServer.open();
    joined = [];
  });
  afterEach(async () => {
    await membership.stop();
    await server.close();
    expect(clock.pending).toBe(0);
  });

  async function start(answer: NameAnswer): Promise<void> {
    server.set(NAME, answer);
    const lookUpRecords = dnsClient({ servers: [server.endpoint], resolverFile: '/dev/null' });
    const provider = createDnsProvider(`${NAME}.`, { clock, logger: silentLogger, lookUpRecords });
    membership = new Membership({ providers: new Map([['cluster', [provider]]]), clock });
    await membership.start();
    const known = new KnownMembers();
    const learn = () => known.learn(membership.listings(), clock.now()).map(({ id }) => id);
    learn();
    membership.onChange(() => joined.push(...learn()));
  }

  /** Moves time on and lets a look that became due end. */
  async function pass(milliseconds: number): Promise<void> {
    clock.advance(milliseconds);
    await waitFor(() => clock.pending === 1, 'the look to end');
  }

  function members(): string[] {
    return membership.members().flatMap(({ addresses }) => addresses.map(formatAddress));
  }

  function isFormer(text: string): boolean {
    const address = parseAddress(text);
    return address !== undefined && membership.isFormerMember(address, clock.now());
  }

  it('makes a member of each address, IPv4 or IPv6', async () => {
    await start([...PODS, 'fd00::1']);
    expect(members()).toEqual([...PODS, 'fd00::1']);
    expect(membership.members()[0]).toMatchObject({ id: '10.1.0.1', source: `dns ${NAME}.` });
  });

  it.each([
    ['again when the records have run out', 20, 20_000],
    ['once a second at most', 0, 1000],
    ['once a minute at least', 3600, 60_000],
  ])('asks %s', async (_title, ttlSeconds, waitMs) => {
    server.ttlSeconds = ttlSeconds;
    await start(PODS);
    await pass(waitMs - 1);
    expect(server.questions).toHaveLength(2);
    await pass(1);
    expect(server.questions).toHaveLength(4);
  });

  it('tells who has joined, and remembers who has left', async () => {
    await start(PODS);
    server.set(NAME, [...PODS.slice(1), '10.1.0.4'].toReversed());
    await pass(30_000);
    expect(members()).toEqual(['10.1.0.2', '10.1.0.3', '10.1.0.4']);
    expect(joined).toEqual(['10.1.0.4']);
    await pass(LINGER_MS + 1);
    expect(['10.1.0.1', '10.1.0.2'].map(isFormer)).toEqual([true, false]);
  });

  it.each(['NXDOMAIN', 'SERVFAIL', []] as const)(
    'keeps everybody when the server suddenly answers %s',
    async (answer) => {
      await start(PODS);
      server.set(NAME, answer);
      await pass(30_000);
      await pass(10_000);
      expect(members()).toEqual(PODS);
      expect(membership.ageMs(clock.now())).toBe(40_000);
      server.set(NAME, PODS);
      await pass(10_000);
      expect(membership.ageMs(clock.now())).toBe(0);
    },
    30_000,
  );

  it('lets everybody go when the server has said for half a minute that there is nobody', async () => {
    await start(PODS);
    server.set(NAME, 'NXDOMAIN');
    for (const waitMs of [30_000, 10_000, 10_000, 10_000]) await pass(waitMs);
    expect(members()).toEqual([]);
  });

  it('keeps the addresses of one family while the server answers for the other only', async () => {
    await start([...PODS, 'fd00::1']);
    server.set(`AAAA ${NAME}`, 'SERVFAIL');
    server.set(NAME, ['10.1.0.1', '10.1.0.2']);
    await pass(30_000);
    expect(members()).toEqual(['10.1.0.1', '10.1.0.2', 'fd00::1']);
    expect(membership.ageMs(clock.now())).toBe(30_000);
  });

  it('misses nothing where a server never answers for a family', async () => {
    server.set(`AAAA ${NAME}`, 'SERVFAIL');
    await start(PODS);
    await pass(30_000);
    expect(membership.ageMs(clock.now())).toBe(0);
  });

  it('takes the first addresses that a name gets for those that were there before', async () => {
    await start('NXDOMAIN');
    expect(membership.ageMs(clock.now())).toBe(0);
    server.set(NAME, PODS);
    clock.advance(9999);
    expect(membership.ageMs(clock.now())).toBe(9999);
    await pass(1);
    expect(members()).toEqual(PODS);
    expect(joined).toEqual([]);
  });
});
