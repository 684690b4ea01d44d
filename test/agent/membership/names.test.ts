/** The head and the nodes by name: resolved as the system does, followed when they change, and said when they are not. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { KnownMembers } from '../../../agent/detect/known-members.ts';
import { createFileProvider } from '../../../agent/membership/file.ts';
import { Membership } from '../../../agent/membership/membership.ts';
import type { GroupView, Provider } from '../../../agent/membership/provider.ts';
import { createRayProvider } from '../../../agent/membership/ray.ts';
import { ResolvedNames } from '../../../agent/membership/resolved-names.ts';
import { SharedMembers, type SharingMessage } from '../../../agent/membership/shared.ts';
import type { Raylet } from '../../../agent/ray/raylet.ts';
import { formatAddress } from '../../../common/address.ts';
import { silentLogger, type Logger } from '../../../common/log.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { sampleRaylet } from '../../support/sample-raylet.ts';
import { settle } from '../../support/settle.ts';

const CLUSTER = 'ab'.repeat(28);
const OWN = ['127.0.0.1', '::1', '10.77.0.11'];

type Names = Record<string, readonly string[] | Error>;

interface Setting {
  readonly raylet?: Partial<Raylet>;
  readonly names?: Names;
  /** Addresses, or names, on the dashboard's list. */
  readonly listed?: () => readonly string[];
}

/** A worker's provider with a dashboard that answers wherever it is asked. */
function worker({ raylet = {}, names = {}, listed = () => [] }: Setting) {
  const clock = new FakeClock();
  const views: GroupView[] = [];
  const asked: string[] = [];
  const resolved: string[] = [];
  const warnings: object[] = [];
  const sent: SharingMessage[] = [];
  const sharedMembers = new SharedMembers(clock, () => 0);
  sharedMembers.connected((message) => sent.push(message));
  const logger = { ...silentLogger, warn: (fields: object) => warnings.push(fields) } as unknown as Logger;
  const provider = createRayProvider({
    clock,
    logger,
    fetch: (url) => {
      asked.push(new URL(url).hostname);
      const summary = listed().map((nodeManagerAddress, index) => ({
        raylet: { nodeId: `node${index}`, nodeManagerAddress, state: 'ALIVE' },
      }));
      return Promise.resolve(new Response(JSON.stringify({ data: { summary } })));
    },
    resolve: (name) => {
      resolved.push(name);
      const answer = names[name] ?? new Error(`getaddrinfo ENOTFOUND ${name}`);
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
    },
    findRaylets: () => Promise.resolve([sampleRaylet({ clusterId: CLUSTER, ...raylet })]),
    localAddresses: () => OWN,
    sharedMembers,
  });
  return {
    clock,
    asked,
    resolved,
    warnings,
    sent,
    names,
    sharedMembers,
    views,
    provider,
    start: () => provider.start((view) => views.push(view)),
    /** The newest addresses that are not this node's. */
    others: () =>
      (views.at(-1)?.members ?? [])
        .flatMap(({ addresses }) => addresses.map(formatAddress))
        .filter((text) => !OWN.includes(text)),
    async next(byMs = 30_000) {
      for (let passed = 0; passed < byMs; passed += 5000) {
        clock.advance(5000);
        await settle();
      }
    },
  };
}

describe('the head', () => {
  it.each<[gcsAddress: string, names: Names, asked: string[], head: string[]]>([
    ['10.77.0.10:6379', {}, ['10.77.0.10'], ['10.77.0.10']],
    ['head.ray.example:6379', { 'head.ray.example': ['10.77.0.10'] }, ['10.77.0.10'], ['10.77.0.10']],
    ['head:6379', { head: ['10.77.0.10'] }, ['10.77.0.10'], ['10.77.0.10']],
    ['HEAD.Ray.Example.:6379', { 'head.ray.example.': ['10.77.0.10'] }, ['10.77.0.10'], ['10.77.0.10']],
    ['ray_head-1.example:6379', { 'ray_head-1.example': ['10.77.0.10'] }, ['10.77.0.10'], ['10.77.0.10']],
    ['[fd77::10]:6379', {}, ['[fd77::10]'], ['fd77::10']],
    ['head6.example:6379', { 'head6.example': ['fd77::10'] }, ['[fd77::10]'], ['fd77::10']],
    [
      'both.example:6379',
      { 'both.example': ['fd77::10', '10.77.0.10'] },
      ['10.77.0.10'],
      ['10.77.0.10', 'fd77::10'],
    ],
    ['localhost:6379', {}, ['127.0.0.1'], []],
    ['LOCALHOST.:6379', {}, ['127.0.0.1'], []],
    ['self.example:6379', { 'self.example': ['127.0.1.1'] }, ['127.0.0.1'], ['127.0.1.1']],
  ])('of --gcs-address=%s is known, and asked for the nodes', async (gcsAddress, names, asked, head) => {
    const node = worker({ raylet: { gcsAddress }, names, listed: () => ['10.77.0.12'] });
    await node.start();
    await node.provider.stop();
    expect(node.asked).toEqual(asked);
    expect(node.others()).toEqual([...head, '10.77.0.12']);
  });

  it.each([
    '127.1:6379',
    '0x7f000001:6379',
    '2130706433:6379',
    'a b:6379',
    '-x.example:6379',
    'no-port',
    ':6379',
  ])('is not looked for by %s, which is no name', async (gcsAddress) => {
    const node = worker({ raylet: { gcsAddress } });
    await node.start();
    await node.provider.stop();
    expect([node.resolved, node.asked]).toEqual([[], []]);
  });

  it('whose name does not resolve is said, and the shared view of the cluster is followed', async () => {
    const node = worker({ raylet: { gcsAddress: 'head.ray.example:6379' } });
    await node.start();
    expect(node.sent).toEqual([{ type: 'follow-members', cluster: CLUSTER }]);
    expect(node.views.at(-1)?.unresolvedNames).toEqual(['head.ray.example']);
    expect(node.warnings).toContainEqual(
      expect.objectContaining({
        host: 'head.ray.example',
        reason: expect.stringContaining('ENOTFOUND') as string,
      }),
    );
    node.sharedMembers.take({
      type: 'members',
      cluster: CLUSTER,
      ageMs: 0,
      reporter: 'head',
      members: [{ id: 'n2', addresses: ['10.77.0.12'], ports: [] }],
    });
    await node.next(5000);
    expect(node.others()).toEqual(['10.77.0.12']);
    expect(node.views.at(-1)?.isPartial).toBeUndefined();
    await node.provider.stop();
  });

  it('is followed to another address, which is said and reported like a new member', async () => {
    const names: Names = { 'head.example': ['10.77.0.10'] };
    const node = worker({ raylet: { gcsAddress: 'head.example:6379' }, names });
    const membership = new Membership({
      providers: new Map([['cluster', [node.provider]]]),
      clock: node.clock,
    });
    await membership.start();
    const known = new KnownMembers();
    known.learn(membership.listings(), node.clock.now());
    names['head.example'] = ['10.77.0.99'];
    await node.next();
    expect(membership.members().flatMap(({ addresses }) => addresses.map(formatAddress))).toContain(
      '10.77.0.99',
    );
    expect(known.learn(membership.listings(), node.clock.now()).map(({ id }) => id)).toEqual([
      'head.example 10.77.0.99',
    ]);
    expect(node.warnings).toContainEqual(
      expect.objectContaining({ host: 'head.example', addresses: ['10.77.0.99'] }),
    );
    await membership.stop();
  });

  it('keeps its last address while the resolver is away, and says since when', async () => {
    const names: Names = { 'head.example': ['10.77.0.10'] };
    const node = worker({ raylet: { gcsAddress: 'head.example:6379' }, names });
    await node.start();
    const asOf = new Date(node.clock.now()).toISOString();
    names['head.example'] = new Error('getaddrinfo EAI_AGAIN head.example');
    await node.next();
    expect(node.others()).toEqual(['10.77.0.10']);
    expect(node.warnings).toContainEqual({
      host: 'head.example',
      reason: 'getaddrinfo EAI_AGAIN head.example',
      lastAnswer: asOf,
    });
    await node.provider.stop();
  });

  it('has the cluster known by its address and not by its name, which another domain may have, too', async () => {
    const key = async (names: Names): Promise<unknown> => {
      const node = worker({ raylet: { gcsAddress: 'head:6379', clusterId: undefined as never }, names });
      await node.start();
      await node.provider.stop();
      return node.sent[0];
    };
    expect(await key({ head: ['10.77.0.10'] })).toMatchObject({ cluster: '10.77.0.10:6379' });
    expect(await key({ head: ['fd77::10'] })).toMatchObject({ cluster: '[fd77::10]:6379' });
    expect(await key({})).toBeUndefined();
    expect(await key({ head: ['127.0.0.1'] })).toBeUndefined();
  });
});

describe('nodes on the list of the dashboard', () => {
  it('are members by each address of their names, and told to other agents by these', async () => {
    const names: Names = { 'w2.example': ['10.77.0.12', 'fd77::12'], w3: ['10.77.0.13'] };
    const node = worker({ names, listed: () => ['w2.example', 'W3', '10.77.0.14', 'gone.example'] });
    await node.start();
    await node.provider.stop();
    expect(node.others()).toEqual(['10.77.0.10', '10.77.0.12', 'fd77::12', '10.77.0.13', '10.77.0.14']);
    expect(node.views.at(-1)?.unresolvedNames).toEqual(['gone.example']);
    const offered = node.sent.find(({ type }) => type === 'members');
    expect(offered).toMatchObject({
      members: [
        { id: 'node0 10.77.0.12', addresses: ['10.77.0.12'] },
        { id: 'node0 fd77::12', addresses: ['fd77::12'] },
        { id: 'node1 10.77.0.13', addresses: ['10.77.0.13'] },
        { id: 'node2', addresses: ['10.77.0.14'] },
      ],
    });
  });

  it('cannot be led to an outside address without a report of a new member', async () => {
    const names: Names = { 'rebind.example': ['10.77.0.12'] };
    const node = worker({ names, listed: () => ['rebind.example'] });
    const membership = new Membership({
      providers: new Map([['cluster', [node.provider]]]),
      clock: node.clock,
    });
    await membership.start();
    const known = new KnownMembers();
    known.learn(membership.listings(), node.clock.now());
    names['rebind.example'] = ['203.0.113.66'];
    await node.next();
    expect(known.learn(membership.listings(), node.clock.now()).map(({ id }) => id)).toEqual([
      'node0 203.0.113.66',
    ]);
    await membership.stop();
  });

  it.each(['127.0.0.1', '::1', '0.0.0.0', '224.0.0.1', 'ff02::1', '::'])(
    'are at no address such as %s, whatever their names resolve to',
    async (address) => {
      const node = worker({ names: { 'odd.example': [address] }, listed: () => ['odd.example'] });
      await node.start();
      await node.provider.stop();
      expect(node.others()).toEqual(['10.77.0.10']);
    },
  );

  it('have no more addresses, and are no more names, than are bounded', async () => {
    const many = Array.from({ length: 3000 }, (_, index) => `n${index}.example`);
    const names: Names = { 'n0.example': Array.from({ length: 100 }, (_, index) => `10.78.0.${index}`) };
    const node = worker({ names, listed: () => [...many, '$(reboot)', 'x'.repeat(64), '10.77.0.14'] });
    await node.start();
    await node.provider.stop();
    expect(new Set(node.resolved).size).toBe(1000);
    expect(node.others()).toHaveLength(1 + 4 + 1);
  });
});

describe('the members file', () => {
  it('may hold names, each with all of its addresses, and follows them', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'plasmawatch-names-')), 'members.yaml');
    writeFileSync(
      path,
      '- w1.example\n- { id: w2, addresses: [w2.example, 10.0.0.2] }\n- w3.\n- lost.example\n',
    );
    const clock = new FakeClock();
    const views: GroupView[] = [];
    const names: Names = {
      'w1.example': ['10.0.0.1', 'fd00::1'],
      'w2.example': ['10.1.0.2'],
      'w3.': ['10.0.0.3'],
    };
    const provider: Provider = createFileProvider(path, {
      clock,
      logger: silentLogger,
      resolve: (name) => {
        const answer = names[name] ?? new Error('ENOTFOUND');
        return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
      },
    });
    await provider.start((view) => views.push(view));
    const newest = () =>
      views.at(-1)?.members.map(({ id, addresses }) => `${id}: ${addresses.map(formatAddress).join(' ')}`);
    expect(newest()).toEqual([
      'w1.example: 10.0.0.1 fd00::1',
      'w2: 10.1.0.2 10.0.0.2',
      'w3.: 10.0.0.3',
      'lost.example: ',
    ]);
    expect(views.at(-1)?.unresolvedNames).toEqual(['lost.example']);
    names['w1.example'] = ['10.0.0.7'];
    names['w2.example'] = new Error('EAI_AGAIN');
    await provider.refresh?.();
    expect(newest()?.slice(0, 2)).toEqual(['w1.example: 10.0.0.7', 'w2: 10.1.0.2 10.0.0.2']);
    await provider.stop();
  });
});

describe('ResolvedNames', () => {
  it('asks for two names at a time, and never twice for one that takes long', async () => {
    const clock = new FakeClock();
    const asked: string[] = [];
    let answer: (() => void)[] = [];
    const names = new ResolvedNames({
      clock,
      logger: silentLogger,
      resolve: (name) => {
        asked.push(name);
        return new Promise((resolve) => answer.push(() => resolve(['10.0.0.1'])));
      },
      maxNames: 10,
      text: '',
    });
    const first = names.follow(['a', 'b', 'c'], true, 2000);
    await settle();
    expect(asked).toEqual(['a', 'b']);
    clock.advance(2000);
    await first;
    const second = names.follow(['a', 'b'], true, 2000);
    await settle();
    expect(asked).toEqual(['a', 'b']);
    for (; answer.length > 0; await settle()) for (const each of answer.splice(0)) each();
    await second;
    answer = [];
    expect(names.of('a').addresses.map(formatAddress)).toEqual(['10.0.0.1']);
    // What is not followed any more is forgotten.
    expect(names.of('c').addresses).toEqual([]);
  });
});
