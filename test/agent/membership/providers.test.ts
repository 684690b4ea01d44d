import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFileProvider } from '../../../agent/membership/file.ts';
import { createHostsProvider } from '../../../agent/membership/hosts.ts';
import type { GroupView, Provider } from '../../../agent/membership/provider.ts';
import { createRayProvider } from '../../../agent/membership/ray.ts';
import { createCidrProvider } from '../../../agent/membership/static.ts';
import type { Raylet } from '../../../agent/ray/raylet.ts';
import { formatAddress, formatPrefix } from '../../../common/address.ts';
import { silentLogger } from '../../../common/log.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { waitFor } from '../../support/wait-for.ts';
import { sampleRaylet } from '../../support/sample-raylet.ts';
import { settle } from '../../support/settle.ts';

const logger = silentLogger;
let clock: FakeClock;
let views: GroupView[];
let running: Provider | undefined;

beforeEach(() => {
  clock = new FakeClock();
  views = [];
  running = undefined;
});

afterEach(async () => {
  await running?.stop();
  expect(clock.pending).toBe(0);
});

async function start(provider: Provider): Promise<void> {
  running = provider;
  await provider.start((view) => views.push(view));
}

/** The newest view, as `id: addresses` and prefixes. */
function newest(): string[] {
  const view = views.at(-1);
  return [
    ...(view?.members ?? []).map(({ id, addresses }) => `${id}: ${addresses.map(formatAddress).join(' ')}`),
    ...(view?.prefixes ?? []).map(formatPrefix),
  ];
}

describe('createCidrProvider', () => {
  it('publishes its ranges at once', async () => {
    await start(createCidrProvider(['10.20.0.0/24', 'fd77::/64']));
    expect(newest()).toEqual(['10.20.0.0/24', 'fd77::/64']);
  });
});

describe('createHostsProvider', () => {
  it('takes addresses as they are, and asks nobody about them', async () => {
    await start(
      createHostsProvider(['10.0.0.1', 'fd77::1'], {
        clock,
        logger,
        resolve: () => Promise.reject(new Error()),
      }),
    );
    expect(newest()).toEqual(['10.0.0.1: 10.0.0.1', 'fd77::1: fd77::1']);
    expect(clock.pending).toBe(0);
  });

  it('resolves names again and again, and keeps the last answer while there is none', async () => {
    let answer: () => Promise<string[]> = () => Promise.resolve(['10.0.0.1', '10.0.0.2']);
    await start(createHostsProvider(['workers.example'], { clock, logger, resolve: () => answer() }));
    expect(newest()).toEqual(['workers.example: 10.0.0.1 10.0.0.2']);
    answer = () => Promise.reject(new Error('no such name'));
    clock.advance(30_000);
    await waitFor(() => views.length === 2, 'the second view');
    expect(newest()).toEqual(['workers.example: 10.0.0.1 10.0.0.2']);
    answer = () => Promise.resolve(['10.0.0.3']);
    clock.advance(30_000);
    await waitFor(() => views.length === 3, 'the third view');
    expect(newest()).toEqual(['workers.example: 10.0.0.3']);
  });
});

describe('createFileProvider', () => {
  let folder: string;
  let path: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-members-'));
    path = join(folder, 'members.yaml');
  });
  afterEach(async () => {
    await running?.stop();
    await rm(folder, { recursive: true });
  });

  it('reads addresses, and objects with id, role and ports', async () => {
    await writeFile(
      path,
      '- 10.0.0.1\n- { id: w1, addresses: [10.0.0.2, fd77::2], role: worker, ports: { object-manager: 45019 } }\n',
    );
    await start(createFileProvider(path, { clock, logger }));
    expect(newest()).toEqual(['10.0.0.1: 10.0.0.1', 'w1: 10.0.0.2 fd77::2']);
    expect(views[0]?.members[1]).toMatchObject({ role: 'worker', source: 'file members.yaml' });
    expect(views[0]?.members[1]?.ports).toEqual(new Map([['object-manager', [45_019]]]));
  });

  it('follows changes, and keeps the last good list while the file is wrong', async () => {
    await writeFile(path, '[10.0.0.1]');
    await start(createFileProvider(path, { clock, logger }));
    await writeFile(path, '[10.0.0.1, not-an-address]');
    await nextLook();
    expect(newest()).toEqual(['10.0.0.1: 10.0.0.1']);
    await writeFile(path, '["10.0.0.7"]');
    await nextLook();
    await waitFor(() => newest()[0] === '10.0.0.7: 10.0.0.7', 'the changed list');
  });

  it('publishes nothing where the file is missing, and its content once it is there', async () => {
    await start(createFileProvider(path, { clock, logger }));
    expect(views).toEqual([]);
    await writeFile(path, '[10.0.0.1]');
    await nextLook();
    await waitFor(() => views.length === 1, 'the first list');
  });

  /** Lets the provider look at its file once more. */
  async function nextLook(): Promise<void> {
    await waitFor(() => clock.pending === 1, 'the provider to wait');
    clock.advance(1000);
    await waitFor(() => clock.pending === 1, 'the provider to have looked');
  }
});

describe('createRayProvider', () => {
  const raylet = sampleRaylet({
    nodeId: 'aa',
    nodeAddress: '10.0.0.2',
    gcsAddress: '127.0.0.1:6379',
    objectManagerPort: 45_019,
    nodeManagerPort: 38_689,
    how: 'log',
  });
  let dashboard: Server;
  let answer: { status: number; body: string };
  /** What the dashboard was sent to prove who asks. */
  let credentials: (string | undefined)[];

  beforeEach(async () => {
    answer = { status: 200, body: summary() };
    credentials = [];
    dashboard = createServer((request, response) => {
      credentials.push(request.headers.authorization);
      response.writeHead(answer.status).end(answer.body);
    });
    dashboard.listen(0, '127.0.0.1');
    await once(dashboard, 'listening');
  });
  afterEach(() => dashboard.close());

  function provider(raylets: readonly Raylet[], rayToken?: string): Provider {
    return createRayProvider(dependencies(raylets, rayToken));
  }

  function dependencies(
    raylets: readonly Raylet[],
    rayToken?: string,
  ): Parameters<typeof createRayProvider>[0] {
    const { port } = dashboard.address() as { port: number };
    return {
      clock,
      logger,
      // The dashboard's port is Ray's: the test's server stands in for it.
      fetch: (url, init) => fetch(url.replace(':8265', `:${port}`), init),
      findRaylets: () => Promise.resolve(raylets),
      localAddresses: () => ['127.0.0.1', '10.0.0.2'],
      rayToken,
    };
  }

  it.each([
    ['no raylet is left', [], 0],
    // The proof of a raylet may be late where the node is busy.
    [
      'only an unproven one is left for ten seconds',
      [{ ...raylet, isProven: false, gcsAddress: '' }],
      10_000,
    ],
  ])(
    'asks the head no more once its raylet has ended, and keeps what it knows: %s',
    async (_title, left, afterMs) => {
      let raylets: readonly Raylet[] = [raylet];
      const asking = createRayProvider({ ...dependencies([]), findRaylets: () => Promise.resolve(raylets) });
      await asking.start((view) => views.push(view));
      raylets = left;
      await asking.refresh?.();
      clock.advance(afterMs);
      await settle();
      const asked = credentials.length;
      expect(asked).toBe(afterMs === 0 ? 1 : 2);
      for (let look = 0; look < 3; look++) expect(await asking.refresh?.()).toBe('answered');
      expect(credentials).toHaveLength(asked);
      expect(views.at(-1)?.members.map(({ id }) => id)).toEqual(expect.arrayContaining(['127.0.0.1', 'bb']));
      raylets = [raylet];
      await asking.refresh?.();
      expect(credentials.length).toBeGreaterThan(asked);
      await asking.stop();
    },
  );

  it.each([
    ['three nodes', 0, undefined, 12],
    ['500 KB', 500_000, undefined, 12],
    ['5 MB', 5_000_000, undefined, 3],
    ['ten MB', 10_000_000, undefined, 1],
    ['20 MB', 20_000_000, undefined, 1],
    ['ten MB where a list of half a minute is an incident', 10_000_000, 30_000, 4],
  ])('asks for an answer of %s as often as it may cost', async (_title, bytes, staleAfterMs, questions) => {
    let asked = 0;
    const body = [`{"padding":"${'x'.repeat(bytes)}",`, summary().slice(1)].map((text) => Buffer.from(text));
    const asking = createRayProvider({
      ...dependencies([raylet]),
      staleAfterMs,
      fetch: () => {
        asked++;
        return Promise.resolve({ status: 200, ok: true, body: Readable.from(body) });
      },
    });
    let looks = 0;
    await asking.start(() => looks++);
    asked = 0;
    for (let look = 1; look <= 12; look++) {
      clock.advance(5000);
      await waitFor(() => looks === look + 1, `look ${look}`);
    }
    expect(asked).toBe(questions);
    // Whoever waits for it has it asked at once.
    await asking.refresh?.();
    expect(asked).toBe(questions + 1);
    await asking.stop();
  });

  it('asks the head on while raylets cannot be looked for', async () => {
    let isHidden = false;
    const findRaylets = (): Promise<readonly Raylet[]> =>
      isHidden ? Promise.reject(new Error('hidden')) : Promise.resolve([raylet]);
    const asking = createRayProvider({ ...dependencies([]), findRaylets });
    await asking.start(() => {});
    const asked = credentials.length;
    isHidden = true;
    await asking.refresh?.();
    expect(credentials.length).toBeGreaterThan(asked);
    await asking.stop();
  });

  it('knows this machine before a raylet runs', async () => {
    await start(provider([]));
    expect(newest()).toEqual(['this node: 127.0.0.1 10.0.0.2']);
  });

  it("tells this node's ports, the head, and what the dashboard lists", async () => {
    await start(provider([raylet]));
    expect(newest()).toEqual(['aa: 127.0.0.1 10.0.0.2', '127.0.0.1: 127.0.0.1', 'bb: 10.0.0.3']);
    expect(views[0]?.members.map(({ ports }) => ports.get('object-manager'))).toEqual([
      [45_019],
      undefined,
      [33_059],
    ]);
  });

  it('tells the ports of every service that it knows of', async () => {
    const own = new Map([['dashboard-agent', 52_366]]);
    const workerPorts = { first: 20_000, last: 20_999 };
    await start(provider([{ ...raylet, agentPorts: own, workerPorts, dashboardPort: 8265 }]));
    const [node, head] = views[0]?.members ?? [];
    expect(node?.workerPorts).toEqual(workerPorts);
    expect([...(node?.ports ?? [])]).toEqual([
      ['object-manager', [45_019]],
      ['node-manager', [38_689]],
      ['dashboard-agent', [52_366]],
    ]);
    expect([...(head?.ports ?? [])]).toEqual([
      ['gcs', [6379]],
      ['dashboard', [8265]],
    ]);
  });

  it("asks the dashboard at the port that the raylet was told, and knows the head's from it", async () => {
    answer = { status: 200, body: summary('10.0.0.3', true) };
    const { port } = dashboard.address() as { port: number };
    await start(provider([{ ...raylet, dashboardPort: port }]));
    const listed = views[0]?.members.find(({ id }) => id === 'bb');
    expect(listed?.ports).toEqual(
      new Map([
        ['object-manager', [33_059]],
        ['node-manager', [40_000]],
        ['gcs', [6379]],
        ['dashboard', [port]],
      ]),
    );
  });

  it('asks the loopback of this node where it is the head: there the dashboard listens by default', async () => {
    await start(provider([{ ...raylet, gcsAddress: '10.0.0.2:6379' }]));
    expect(newest()).toContain('bb: 10.0.0.3');
  });

  it("sends Ray's token, but only to a head that a proven raylet names", async () => {
    for (const asking of [
      provider([raylet], 'a-token'),
      provider([{ ...raylet, isProven: false }], 'a-token'),
      provider([raylet]),
    ]) {
      await asking.start(() => {});
      await asking.stop();
    }
    // Where no raylet is proven, no head is asked at all.
    expect(credentials).toEqual(['Bearer a-token', undefined]);
  });

  it('takes from a raylet that is not proven a port to watch besides, no member, and says so when it is stale', async () => {
    const impostor = { ...raylet, isProven: false, userId: 65_534, nodeAddress: '10.9.9.9', gcsAddress: '' };
    await start(provider([impostor]));
    expect(newest()).toEqual(['this node: 127.0.0.1 10.0.0.2']);
    expect(views[0]?.members[0]?.ports).toEqual(new Map());
    expect(views[0]?.members[0]?.claimedPorts?.get('object-manager')).toEqual([45_019]);
    expect(views[0]).toMatchObject({ isPartial: true, asOfMs: clock.now() });
  });

  it('watches what one user claims however many ports another one does', async () => {
    const claim = (userId: number, objectManagerPort: number): Raylet => ({
      ...raylet,
      isProven: false,
      gcsAddress: '',
      userId,
      objectManagerPort,
    });
    const many = Array.from({ length: 200 }, (_, index) => claim(65_534, 20_000 + index));
    await start(provider([...many, claim(1000, 45_019)]));
    const claimed = views[0]?.members[0]?.claimedPorts?.get('object-manager');
    expect(claimed).toHaveLength(64);
    expect(claimed).toContain(45_019);
  });

  it('watches every port at which a proven raylet listens where no log says which is which', async () => {
    const unclear = { ...raylet, objectManagerPort: undefined, listeningPorts: [36_875, 39_629] };
    const claims = Array.from({ length: 100 }, (_, index) => ({
      ...raylet,
      isProven: false,
      userId: 10_000 + index,
      objectManagerPort: 20_000 + index,
    }));
    await start(provider([...claims, unclear]));
    const claimed = views[0]?.members[0]?.claimedPorts?.get('object-manager');
    expect(views[0]?.members[0]?.ports.get('object-manager')).toBeUndefined();
    expect(claimed?.slice(0, 2)).toEqual([36_875, 39_629]);
    expect(claimed).toHaveLength(64);
  });

  it('keeps to the head that it knows when a raylet comes that names another', async () => {
    const raylets = [raylet];
    const said: unknown[] = [];
    const logger = { ...silentLogger, warn: (...words: unknown[]) => said.push(words) };
    await start(createRayProvider({ ...dependencies(raylets), logger: logger as never }));
    raylets.unshift({ ...raylet, pid: 1, startTicks: 1, gcsAddress: '10.9.9.9:6379' });
    clock.advance(5000);
    await waitFor(() => views.length === 2, 'the next look');
    expect(views[1]?.members.map(({ role, id }) => [role, id])).toContainEqual(['head', '127.0.0.1']);
    expect(newest().join()).not.toContain('10.9.9.9');
    expect(said).toEqual([
      [{ head: '127.0.0.1', others: ['10.9.9.9'] }, expect.stringContaining('several clusters')],
    ]);
  });

  it('asks nobody in the place of a dashboard on this node whose port another user has', async () => {
    const users = new Set([65_534]);
    const asking = createRayProvider({
      ...dependencies([raylet]),
      listeningUsers: () => Promise.resolve(users),
    });
    await asking.start(() => {});
    await asking.stop();
    expect(credentials).toEqual([]);
    users.clear();
    users.add(raylet.userId);
    await start(
      createRayProvider({ ...dependencies([raylet]), listeningUsers: () => Promise.resolve(users) }),
    );
    expect(newest()).toContain('bb: 10.0.0.3');
  });

  it.each([
    ['nobody listens: who comes between the look and the question gets nothing', [], 0],
    ['another user listens beside it, at an address that is not asked', [['127.0.0.9', 65_534]], 0],
    [
      'another user has one address, and Ray the other',
      [
        ['127.0.0.1', 1000],
        ['10.0.0.2', 65_534],
      ],
      1,
    ],
    [
      'Ray has one address, and another user all others',
      [
        ['127.0.0.1', 1000],
        ['', 65_534],
      ],
      1,
    ],
    [
      'both have both',
      [
        ['127.0.0.1', 1000],
        ['127.0.0.1', 65_534],
      ],
      0,
    ],
  ] as const)('on its own node asks whom Ray runs, where %s', async (_title, sockets, questions) => {
    const at = (host: string): number[] =>
      sockets.flatMap(([address, user]) => (address === host ? [user] : []));
    const asking = createRayProvider({
      ...dependencies([{ ...raylet, userId: 1000, gcsAddress: '10.0.0.2:6379' }]),
      rayToken: 'a-token',
      listeningUsers: (address) => {
        const exact = at(formatAddress(address));
        return Promise.resolve(new Set(exact.length > 0 ? exact : at('')));
      },
    });
    await asking.start(() => {});
    await asking.stop();
    expect(credentials).toEqual(Array.from({ length: questions }, () => 'Bearer a-token'));
  });

  it.each([
    ['is on the loopback of the head: anybody there may listen at its address', '127.0.0.1', []],
    ['is on its loopback, by name', 'localhost', []],
    ['is on its loopback, over IPv6', '::1', []],
    ['is at the address of the head', '10.0.0.7', ['10.0.0.7:8265 Bearer a-token']],
    ['may not run at all', undefined, ['10.0.0.7:8265 undefined']],
  ])('of a head on another node asks a dashboard that %s', async (_title, dashboardHost, expected) => {
    const asked: string[] = [];
    const told = dashboardHost === undefined ? {} : { dashboardHost, dashboardPort: 8265 };
    const asking = createRayProvider({
      ...dependencies([{ ...raylet, ...told, gcsAddress: '10.0.0.7:6379' }]),
      rayToken: 'a-token',
      listeningUsers: () => Promise.reject(new Error('not of this machine')),
      fetch: (url, init) => {
        if (typeof url !== 'string') throw new Error('no text');
        asked.push(`${new URL(url).host} ${new Headers(init?.headers).get('authorization') ?? 'undefined'}`);
        return Promise.resolve(new Response(summary()));
      },
    });
    await asking.start((view) => views.push(view));
    await asking.stop();
    expect(asked).toEqual(expected);
  });

  it('has the head approved like others, unless it is this node', async () => {
    const raylets = [raylet];
    await start(provider(raylets));
    raylets[0] = { ...raylet, gcsAddress: '10.0.0.7:6379' };
    clock.advance(5000);
    await waitFor(() => views.length === 2, 'the next look');
    const heads = views.map(({ members }) => members.find(({ role }) => role === 'head'));
    expect(heads.map((head) => head?.needsApproval)).toEqual([undefined, true]);
  });

  it('takes what the dashboard says of this node as a claim', async () => {
    answer = { status: 200, body: summary('10.0.0.2') };
    await start(provider([raylet]));
    const listed = views[0]?.members.find(({ id }) => id === 'bb');
    expect(listed?.ports).toEqual(new Map());
    expect(listed?.claimedPorts?.get('object-manager')).toEqual([33_059]);
  });

  it('waits for a raylet that cannot be looked for', async () => {
    const failing = { ...dependencies([]), findRaylets: () => Promise.reject(new Error('a process stalls')) };
    await start(createRayProvider(failing));
    expect(views[0]).toMatchObject({ isPartial: true, asOfMs: clock.now() });
  });

  it('says whom Ray lists as dead', async () => {
    await start(provider([raylet]));
    expect(views[0]?.ended).toEqual(['cc']);
  });

  it('tells since when it waits for a dashboard that has never answered', async () => {
    answer = { status: 503, body: '' };
    await start(provider([raylet]));
    const startedMs = clock.now();
    clock.advance(5000);
    await waitFor(() => views.length === 2, 'the next look');
    expect(views[1]).toMatchObject({ isPartial: true, asOfMs: startedMs });
  });

  it('waits for nobody where no raylet runs', async () => {
    await start(provider([]));
    expect(views[0]?.asOfMs).toBeUndefined();
  });

  it.each([
    ['is away', { status: 503, body: '' }],
    ['answers nonsense', { status: 200, body: '{"data":{"summary":[{}]}}' }],
    ['answers no JSON', { status: 200, body: '<html>' }],
  ])('keeps the last list while the dashboard %s', async (_name, bad) => {
    await start(provider([raylet]));
    answer = bad;
    clock.advance(5000);
    await waitFor(() => views.length === 2, 'the next look');
    expect(views[1]).toEqual(views[0]);
    answer = { status: 200, body: summary('10.0.0.4') };
    await waitFor(() => clock.pending === 1, 'the provider to wait');
    clock.advance(5000);
    await waitFor(() => views.length === 3, 'the changed list');
    expect(newest()).toContain('bb: 10.0.0.4');
  });

  /** The part of Ray's answer that counts, with a node that is dead. */
  function summary(address = '10.0.0.3', isHeadNode = false): string {
    const node = (nodeId: string, nodeManagerAddress: string, state: string): object => ({
      raylet: {
        nodeId,
        nodeManagerAddress,
        state,
        objectManagerPort: 33_059,
        nodeManagerPort: 40_000,
        isHeadNode,
      },
    });
    return JSON.stringify({
      result: true,
      data: { summary: [node('bb', address, 'ALIVE'), node('cc', '10.0.0.9', 'DEAD')] },
    });
  }
});
