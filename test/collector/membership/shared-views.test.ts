import { beforeEach, describe, expect, it } from 'vitest';
import { createCollectorMetrics, type CollectorMetrics } from '../../../collector/metrics.ts';
import { SharedViews } from '../../../collector/membership/shared-views.ts';
import type { Follower } from '../../../collector/membership/view.ts';
import { NODES_KEY, type MembersReport } from '../../../common/shared-view.ts';
import { FakeClock } from '../../support/fake-clock.ts';

let clock: FakeClock;
let views: SharedViews;
let metrics: CollectorMetrics;

beforeEach(() => {
  clock = new FakeClock();
  metrics = createCollectorMetrics();
  views = new SharedViews({ clock, metrics, reporters: ['head', 'w1', 'w2'].map((agent) => ({ agent })) });
});

/** An agent that notes what it is told: `reporter: ids`, `reporter: same`, or `wanted`. */
function follower(agent: string, canRead = () => true): Follower & { told: string[] } {
  const told: string[] = [];
  return {
    agent,
    from: `place of ${agent}`,
    told,
    send(message) {
      if (!canRead()) return false;
      if (message.type === 'members-wanted') told.push('wanted');
      else told.push(`${message.reporter}: ${message.members?.map(({ id }) => id).join(' ') ?? 'same'}`);
      return true;
    },
  };
}

function report(...ids: string[]): MembersReport {
  const members = ids.map((id) => ({ id, addresses: ['10.0.0.1'], ports: [] }));
  return { type: 'members', cluster: 'a', ageMs: 0, members };
}

const SAME: MembersReport = { type: 'members', cluster: 'a', ageMs: 0 };

describe('SharedViews', () => {
  it('hands a view to those that follow the cluster, at once to who comes later, and to no other cluster', () => {
    const [head, w1, w2, other] = ['head', 'w1', 'w2', 'other'].map((name) => follower(name));
    if (head === undefined || w1 === undefined || w2 === undefined || other === undefined) throw new Error();
    for (const agent of [head, w1]) views.follow(agent, 'a');
    views.follow(other, 'b');
    views.report(head, report('x', 'y'));
    views.follow(w2, 'a');
    expect([head.told, w1.told, w2.told, other.told]).toEqual([[], ['head: x y'], ['head: x y'], []]);
    expect(views.views()).toMatchObject([{ cluster: 'a', reporter: 'head', state: 'named', followers: 3 }]);
  });

  it('tells an agent once a second at most, the newest then, and what is unchanged without its members', () => {
    const [head, w1] = [follower('head'), follower('w1')];
    views.follow(w1, 'a');
    for (const ids of [['x'], ['x', 'y'], ['x', 'y', 'z']]) views.report(head, report(...ids));
    expect(w1.told).toEqual(['head: x']);
    clock.advance(1000);
    expect(w1.told).toEqual(['head: x', 'head: x y z']);
    clock.advance(1000);
    views.report(head, SAME);
    expect(w1.told.at(-1)).toBe('head: same');
  });

  it('keeps to one reporter until it is silent or gone, and says so to the others', () => {
    const [head, w1, w2] = [follower('head'), follower('w1'), follower('w2')];
    views.follow(w2, 'a');
    views.report(head, report('x'));
    views.report(w1, report());
    expect(views.views()[0]).toMatchObject({ reporter: 'head', members: [{ id: 'x' }] });
    clock.advance(15_000);
    views.report(w1, report('y'));
    expect(views.views()[0]).toMatchObject({ reporter: 'w1', members: [{ id: 'y' }] });
    views.leave(w1);
    expect(w2.told).toEqual(['head: x', 'w1: y', 'wanted']);
    views.report(head, report('z'));
    expect(views.views()[0]).toMatchObject({ reporter: 'head' });
  });

  it('measures how many members there are, and when the oldest view was true', async () => {
    const head = follower('head');
    views.report(head, report('x', 'y'));
    clock.advance(5000);
    views.report(head, { ...report('x'), cluster: 'b', ageMs: 1000 });
    expect((await metrics.members.get()).values[0]?.value).toBe(3);
    expect((await metrics.membersAsOf.get()).values[0]?.value).toBe(clock.now() / 1000 - 5);
  });

  it('takes no empty list, not even of the reporter', () => {
    const head = follower('head');
    views.report(head, report('x'));
    views.report(head, report());
    expect(views.views()[0]?.members).toHaveLength(1);
  });

  it('asks for the whole view where "unchanged" comes from an agent whose view it does not have', () => {
    const [head, w1] = [follower('head'), follower('w1')];
    views.report(head, SAME);
    expect(views.views()).toEqual([]);
    views.report(head, report('x'));
    views.leave(head);
    views.report(w1, SAME);
    expect(views.views()[0]?.reporter).toBe('head');
    expect(w1.told).toEqual(['wanted']);
    views.report(w1, report('x'));
    expect(views.views()[0]?.reporter).toBe('w1');
  });

  it('tells the whole view later to a peer that did not read it', () => {
    let canRead = false;
    const [head, w1] = [follower('head'), follower('w1', () => canRead)];
    views.follow(w1, 'a');
    views.report(head, report('x'));
    canRead = true;
    clock.advance(1000);
    views.report(head, SAME);
    expect(w1.told).toEqual(['head: x']);
  });

  it('knows 200 clusters at most, and forgets those that nobody has told of for an hour', () => {
    const agents = Array.from({ length: 27 }, (_, index) => `n${index}`);
    views = new SharedViews({ clock, metrics, reporters: agents.map((agent) => ({ agent })) });
    for (let count = 0; count < 210; count++)
      views.report(follower(`n${Math.floor(count / 8)}`), { ...report('x'), cluster: `c${count}` });
    expect(views.views()).toHaveLength(200);
    clock.advance(3_700_000);
    views.report(follower('n0'), { ...report('x'), cluster: 'new' });
    expect(views.views().map(({ cluster }) => cluster)).toEqual(['new']);
    views.stop();
    expect(clock.pending).toBe(0);
  });
});

describe('a view of agents that nobody named', () => {
  beforeEach(() => {
    views = new SharedViews({ clock, metrics });
  });

  it('waits for a second agent that lists the same, and is of both then', () => {
    const [head, w1, w2] = [follower('head'), follower('w1'), follower('w2')];
    for (const agent of [head, w1, w2]) views.follow(agent, 'a');
    views.report(head, report('x', 'y'));
    expect(w2.told).toEqual([]);
    expect(views.views()).toMatchObject([{ state: 'waiting', reporter: 'head' }]);
    views.report(w1, report('y', 'x'));
    expect(views.views()).toMatchObject([{ state: 'confirmed', reporter: 'head and w1' }]);
    expect([head.told, w1.told, w2.told]).toEqual([[], [], ['head and w1: x y']]);
  });

  it('holds nobody whom only one of them lists, and no port', () => {
    const [head, liar, w2] = [follower('head'), follower('liar'), follower('w2')];
    views.follow(w2, 'a');
    views.report(head, withPort(43_800));
    views.report(liar, { ...withPort(43_800), members: [...(withPort(1).members ?? []), evil()] });
    expect(w2.told).toEqual([]);
    views.report(liar, withPort(1));
    expect(w2.told).toEqual(['head and liar: x']);
    expect(views.views()[0]?.members).toMatchObject([{ id: 'x', ports: [] }]);
  });

  it('is not changed by one who first agrees and then lies; a third that agrees takes the place', () => {
    const [liar, head, w2, w3] = [follower('liar'), follower('head'), follower('w2'), follower('w3')];
    views.follow(w3, 'a');
    for (const agent of [liar, head]) views.report(agent, report('x'));
    clock.advance(1000);
    views.report(liar, report('x', 'evil'));
    expect(w3.told).toEqual(['liar and head: x']);
    clock.advance(10_000);
    views.report(liar, report('x', 'evil'));
    for (const agent of [head, w2]) views.report(agent, report('x'));
    expect(views.views()).toMatchObject([{ reporter: 'head and w2', state: 'confirmed' }]);
    views.report(liar, report('x'));
    expect(views.views()).toMatchObject([{ reporter: 'head and w2', state: 'confirmed' }]);
    expect(w3.told.join()).not.toContain('evil');
  });

  it('stays with its readers while one of them sees a node that joins before the other', () => {
    const [head, w1, liar] = [follower('head'), follower('w1'), follower('liar')];
    for (const agent of [head, w1, liar]) views.follow(agent, 'a');
    for (const agent of [head, w1]) views.report(agent, report('x'));
    views.report(head, report('x', 'y'));
    views.report(liar, report('x'));
    views.report(w1, report('x', 'y'));
    expect(views.views()).toMatchObject([{ reporter: 'head and w1', members: [{ id: 'x' }, { id: 'y' }] }]);
    expect([head.told, w1.told]).toEqual([[], ['wanted']]);
  });

  it('has the other reader read at once where one sees a change, and no more than once a second', () => {
    const [head, w1] = [follower('head'), follower('w1')];
    for (const agent of [head, w1]) views.report(agent, report('x'));
    const change = (...ids: string[]): void => {
      for (const agent of [head, w1]) views.report(agent, report(...ids));
    };
    for (let number = 0; number < 10; number++) change('x', `y${number}`);
    expect([head.told, w1.told]).toEqual([[], ['wanted']]);
    clock.advance(1000);
    change('x', 'z');
    expect([head.told, w1.told]).toEqual([[], ['wanted', 'wanted']]);
  });

  it('is as old as the older of both', () => {
    views.report(follower('head'), { ...report('x'), ageMs: 5000 });
    views.report(follower('w1'), report('x'));
    expect(views.views()[0]?.asOfMs).toBe(clock.now() - 5000);
  });

  it.each([
    ['two names from one place', {}, {}, '10.0.0.1', 'waiting'],
    [
      'one name with a key of its own and one without, from one place',
      { isBound: true },
      {},
      '10.0.0.1',
      'waiting',
    ],
    ['two names from two places', {}, {}, '10.0.0.2', 'confirmed'],
    ['two names with keys of their own', { isBound: true }, { isBound: true }, '10.0.0.1', 'confirmed'],
  ])('takes %s as agents that are different, or not', (_title, first, second, from, state) => {
    views.report({ ...follower('a'), from: '10.0.0.1', ...first }, report('x'));
    views.report({ ...follower('b'), from, ...second }, report('x'));
    expect(views.views()).toMatchObject([{ state }]);
  });

  it('is handed out no more once one of both is silent, until another one reads the same', () => {
    const [head, w1, w2] = [follower('head'), follower('w1'), follower('w2')];
    views.follow(w2, 'a');
    for (const agent of [head, w1]) views.report(agent, report('x'));
    clock.advance(15_000);
    views.report(head, report('x', 'y'));
    const late = follower('late');
    views.follow(late, 'a');
    expect(late.told).toEqual([]);
    views.report(follower('w3'), report('y', 'x'));
    expect(late.told).toEqual(['head and w3: x y']);
  });

  it('is confirmed by two though one place reports under every name that it can think of', () => {
    for (let count = 0; count < 100; count++)
      views.report({ ...follower(`liar-${count}`), from: '10.6.6.6' }, report(`invented ${count}`));
    for (const agent of ['w7', 'w8'])
      views.report({ ...follower(agent), isBound: agent === 'w8' }, report('x'));
    expect(views.views()).toMatchObject([{ state: 'confirmed', reporter: 'w7 and w8' }]);
  });

  it('is shared for all though one agent follows and reports every key that it can think of', () => {
    const liar = follower('liar');
    for (let count = 0; count < 1000; count++) {
      views.follow(liar, `key${count}`);
      views.report(liar, { ...report('x'), cluster: `key${count}` });
    }
    expect(views.views()).toHaveLength(8);
    const w2 = follower('w2');
    views.follow(w2, 'honest');
    for (const agent of [follower('head'), follower('w1')])
      views.report(agent, { ...report('x'), cluster: 'honest' });
    expect(w2.told).toEqual(['head and w1: x']);
  });

  it('is handed to an agent whose cluster has had many ids', () => {
    const w2 = follower('w2');
    for (let count = 0; count < 20; count++) views.follow(w2, `id${count}`);
    for (const agent of [follower('head'), follower('w1')])
      for (const cluster of ['id19', 'id0']) views.report(agent, { ...report('x'), cluster });
    expect(w2.told).toEqual(['head and w1: x']);
  });

  it('makes room for a cluster by one of which nothing was confirmed', () => {
    for (let count = 0; count < 200; count++)
      views.report(follower(`liar${count}`), { ...report('x'), cluster: `key${count}` });
    for (const agent of [follower('head'), follower('w1')])
      views.report(agent, { ...report('x'), cluster: 'honest' });
    expect(views.views().filter(({ state }) => state === 'confirmed')).toMatchObject([{ cluster: 'honest' }]);
    expect(views.views()).toHaveLength(200);
  });

  it('is of a named agent for the clusters that it was named for, whatever others say', () => {
    views = new SharedViews({ clock, metrics, reporters: [{ agent: 'head', clusters: ['a'] }] });
    const w2 = follower('w2');
    views.follow(w2, 'a');
    views.follow(w2, 'b');
    for (const agent of [follower('liar'), follower('liar2')]) views.report(agent, report('evil'));
    for (const cluster of ['a', 'b']) views.report(follower('head'), { ...report('x'), cluster });
    clock.advance(1000);
    expect(w2.told.at(-1)).toBe('head: x');
    expect(views.views()).toMatchObject([
      { cluster: 'a', state: 'named', reporter: 'head' },
      { cluster: 'b', state: 'waiting' },
    ]);
  });
});

function withPort(port: number): MembersReport {
  const members = [
    { id: 'x', addresses: ['10.0.0.1'], ports: [['object-manager', [port]]] as [string, number[]][] },
  ];
  return { type: 'members', cluster: 'a', ageMs: 0, members };
}

function evil(): NonNullable<MembersReport['members']>[number] {
  return { id: 'evil', addresses: ['192.0.2.66'], ports: [] };
}

describe('what the agent on the head reads', () => {
  const HEAD = '10.0.0.10';
  beforeEach(() => {
    views = new SharedViews({ clock, metrics });
  });

  const at = (agent: string, address: string, reachedAt = '10.0.0.99') => ({
    ...follower(agent),
    address,
    reachedAt,
  });

  it.each([
    ['from the address that the raylet has as its head', at('h', HEAD), at('w1', '10.0.0.11'), [HEAD]],
    ['from one of several', at('h', HEAD), at('w1', '10.0.0.11'), ['fd00::1', HEAD]],
    [
      'over loopback, where the collector is on the head',
      at('h', '127.0.0.1', '127.0.0.1'),
      at('w1', '10.0.0.11', HEAD),
      [HEAD],
    ],
    ['over loopback of IPv6', at('h', '::1', '::1'), at('w1', '10.0.0.11', HEAD), [HEAD]],
  ])('needs no second word: %s', (_name, head, worker, heads) => {
    views.follow(worker, 'a', heads);
    views.report(head, report('x'));
    expect(worker.told).toEqual(['h: x']);
    expect(views.views()).toMatchObject([{ state: 'head', reporter: 'h' }]);
    clock.advance(5000);
    views.report(head, report('x'));
    clock.advance(1000);
    views.report(head, SAME);
    expect(worker.told.slice(1)).toEqual(['h: same', 'h: same']);
    views.leave(head);
    expect(worker.told.at(-1)).toBe('wanted');
  });

  it.each([
    ['from elsewhere', at('h', '10.0.0.12'), [HEAD], '10.0.0.99'],
    ['over loopback, where the collector is on another node', at('h', '127.0.0.1'), [HEAD], '10.0.0.99'],
    ['to one that names no head', at('h', HEAD), undefined, '10.0.0.99'],
    ['from an address that nobody knows', follower('h'), [HEAD], HEAD],
  ])('is no more than others read: %s', (_name, head, heads, reachedAt) => {
    const worker = at('w1', '10.0.0.11', reachedAt);
    views.follow(worker, 'a', heads);
    views.report(head, report('x'));
    expect(worker.told).toEqual([]);
    expect(views.views()).toMatchObject([{ state: 'waiting' }]);
  });

  it('proves nothing where other agents connect from there, too', () => {
    const [head, liar, worker] = [at('h', HEAD), at('liar', HEAD), at('w1', '10.0.0.11')];
    views.follow(worker, 'a', [HEAD]);
    views.report(liar, report('x', 'evil'));
    expect(worker.told).toEqual(['liar: x evil']);
    clock.advance(1000);
    views.report(head, report('x'));
    views.report(liar, report('x', 'evil', 'more'));
    clock.advance(1000);
    expect(worker.told).toEqual(['liar: x evil']);
    views.leave(liar);
    views.report(head, report('x'));
    expect(worker.told.at(-1)).toBe('h: x');
  });

  it('counts for each agent by the head of its own raylet', () => {
    const [head, other, worker, stranger] = [
      at('h', HEAD),
      at('o', '10.0.0.20'),
      at('w1', '10.0.0.11'),
      at('w2', '10.0.0.12'),
    ];
    views.follow(worker, 'a', [HEAD]);
    views.follow(stranger, 'a', ['10.0.0.20']);
    views.report(head, report('x'));
    views.report(other, report('y'));
    clock.advance(1000);
    expect([worker.told[0], stranger.told[0]]).toEqual(['h: x', 'o: y']);
  });

  it('gives way to what two agents agree on, and is told again when they are gone', () => {
    const [head, worker] = [at('h', HEAD), at('w1', '10.0.0.11')];
    const [a, b] = [at('a', '10.0.0.21'), at('b', '10.0.0.22')];
    views.follow(worker, 'a', [HEAD]);
    views.report(head, report('x'));
    for (const agent of [a, b]) views.report(agent, report('x', 'y'));
    clock.advance(1000);
    expect(worker.told).toEqual(['h: x', 'a and b: x y']);
    views.leave(a);
    views.report(head, report('x'));
    expect(worker.told.slice(2)).toEqual(['wanted', 'h: x']);
  });
});

it('logs the further addresses that a known node gets, and not those that it begins with', () => {
  const warnings: unknown[] = [];
  const logger = { info: () => {}, warn: (fields: unknown) => warnings.push(fields) } as never;
  views = new SharedViews({ clock, metrics, logger });
  const w1 = { ...follower('w1'), isBound: true };
  const own = (...addresses: string[]): MembersReport => ({
    type: 'members',
    cluster: NODES_KEY,
    ageMs: 0,
    members: [{ id: 'this node', addresses, ports: [] }],
  });
  views.report(w1, own('10.0.0.1', '10.1.0.1'));
  views.report(w1, own('10.0.0.1', '10.1.0.1'));
  expect(warnings).toEqual([]);
  views.report(w1, own('10.0.0.1', '10.1.0.1', '10.9.9.66'));
  expect(warnings).toEqual([{ agent: 'w1', addresses: ['10.9.9.66'] }]);
  views.report(w1, own('10.0.0.1'));
  expect(warnings).toHaveLength(1);
});
