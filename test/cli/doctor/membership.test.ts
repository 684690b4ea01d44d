import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { dnsClient } from '../../../cli/dns.ts';
import type { Finding } from '../../../cli/doctor/check.ts';
import { examineMembership } from '../../../cli/doctor/membership.ts';
import type { MembershipDependencies } from '../../../agent/membership/from-rules.ts';
import type { Raylet } from '../../../agent/ray/raylet.ts';
import type { Logger } from '../../../common/log.ts';
import { loadRules } from '../../../rules/load.ts';
import { DnsServer } from '../../support/dns-server.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { HttpReceiver } from '../../support/http-receiver.ts';
import { sampleRaylet } from '../../support/sample-raylet.ts';

describe('examineMembership', () => {
  let folder: string;
  let dns: DnsServer;
  let dashboard: HttpReceiver;
  let clock: FakeClock;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-doctor-'));
    dns = await DnsServer.open();
    dashboard = await HttpReceiver.open();
    clock = new FakeClock();
  });
  afterEach(async () => {
    await dns.close();
    await dashboard.close();
    await rm(folder, { recursive: true });
    expect(clock.pending).toBe(0);
  });

  /** What is found with a `cluster` of these sources. */
  async function examine(
    cluster: object,
    raylets: readonly Raylet[] = [],
    isRayExpected?: boolean,
  ): Promise<Finding[]> {
    const path = join(folder, 'rules.yaml');
    await writeFile(path, JSON.stringify({ version: 1, groups: { cluster } }));
    const { ruleset } = await loadRules(path, { clock });
    if (ruleset === undefined) throw new Error('the rules of this test are wrong');
    const sources = (logger: Logger): MembershipDependencies => ({
      clock,
      logger,
      fetch: (_url, init) => fetch(dashboard.url('/nodes?view=summary'), init),
      resolve: () => Promise.reject(new Error('no such name')),
      lookUpRecords: dnsClient({ servers: [dns.endpoint], resolverFile: '/dev/null' }),
      findRaylets: () => Promise.resolve(raylets),
      localAddresses: () => [],
      random: () => 0.5,
    });
    return examineMembership(ruleset, sources, isRayExpected);
  }

  /** The checks as lines. */
  function checks(findings: readonly Finding[]): string[] {
    return findings.flatMap((finding) =>
      finding.type === 'check' ? [`${finding.ok ? 'ok' : 'missing'} ${finding.detail}`] : [],
    );
  }

  it('tells the members of each source, with role and ports, and the ports that are watched', async () => {
    const node = (nodeId: string, nodeManagerAddress: string, objectManagerPort: number): object => ({
      raylet: { nodeId, nodeManagerAddress, objectManagerPort, nodeManagerPort: 7, state: 'ALIVE' },
    });
    const answer = { data: { summary: [node('aa', '10.0.0.2', 36_875), node('bb', '10.0.0.3', 45_019)] } };
    dashboard.answers = [{ status: 200, body: JSON.stringify(answer) }];
    const found = await examine({ ray: 'auto' }, [
      sampleRaylet({ nodeId: 'aa', nodeAddress: '10.0.0.2', gcsAddress: '10.0.0.1:6379' }),
    ]);
    expect(checks(found)).toEqual([
      'ok cluster, ray: 3 members, 0 s old; silent, it keeps them for 24 h, and who joins is a stranger',
      'ok watched: 36875, 45019',
    ]);
    expect(found).toContainEqual({
      type: 'member',
      group: 'cluster',
      source: 'ray',
      id: 'bb',
      role: 'worker',
      addresses: ['10.0.0.3'],
      ports: { 'object-manager': [45_019], 'node-manager': [7] },
    });
  });

  it('tells what is missing while the dashboard does not answer, and what helps', async () => {
    dashboard.answers = [{ status: 503 }];
    const found = await examine({ ray: 'auto' }, [sampleRaylet()]);
    expect(checks(found).slice(0, 2)).toEqual([
      'missing the Ray dashboard does not answer: other nodes stay as last known: 10.77.0.10: HTTP status 503',
      'missing cluster, ray does not tell all it should: only this node and the head count as members',
    ]);
    expect(found[1]).toMatchObject({ fix: expect.stringContaining('--dashboard-host') as string });
  });

  it.each([
    ['a guess', true, [], 'missing object-manager port 43800 guessed, not confirmed: no raylet is seen here'],
    [
      'no guess where no raylet is expected',
      false,
      [],
      'ok object-manager port 43800: no raylet is expected here',
    ],
    ['told by a raylet', true, [sampleRaylet()], 'ok object-manager port 36875, as told by: raylet'],
  ])('says of the port that it is %s', async (_title, isRayExpected, raylets, expected) => {
    const found = checks(await examine({ cidr: ['10.0.0.0/24'] }, raylets, isRayExpected));
    expect(found.at(-1)).toBe(expected);
  });

  it('tells a name that is not in DNS from one that is', async () => {
    expect(checks(await examine({ dns: 'workers.example.' }))).toEqual([
      'missing name without an address in DNS: workers.example.: there is no such name, or it has no addresses',
      'missing cluster, dns workers.example. does not tell all it should: nobody is in the group through this name',
      'ok watched: 43800',
    ]);
    dns.set('workers.example', ['10.1.0.1', '10.1.0.2']);
    expect(checks(await examine({ dns: 'workers.example.' }))[0]).toMatch(
      /^ok cluster, dns workers\.example\.: 2 members/,
    );
  });

  it('tells of a members file that is wrong', async () => {
    await writeFile(join(folder, 'nodes.yaml'), '[not-an-address]');
    const [warning, source] = checks(await examine({ file: 'nodes.yaml' }));
    expect(warning).toMatch(/^missing members file refused, the last list stays: .*nodes\.yaml:1:2/);
    expect(source).toMatch(/^missing cluster, file nodes\.yaml does not tell/);
  });

  it('counts ranges, which cannot fail', async () => {
    expect(checks(await examine({ cidr: ['10.0.0.0/24', 'fd00::/64'] }))[0]).toBe(
      'ok cluster, cidr: 2 ranges',
    );
  });
});
