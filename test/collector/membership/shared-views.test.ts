import { beforeEach, describe, expect, it } from 'vitest';
import { createCollectorMetrics, type CollectorMetrics } from '../../../collector/metrics.ts';
import { SharedViews, type Follower } from '../../../collector/membership/shared-views.ts';
import type { MembersReport } from '../../../common/shared-view.ts';
import { FakeClock } from '../../support/fake-clock.ts';

let clock: FakeClock;
let views: SharedViews;
let metrics: CollectorMetrics;

beforeEach(() => {
  clock = new FakeClock();
  metrics = createCollectorMetrics();
  views = new SharedViews({ clock, metrics });
});

/** An agent that notes what it is told: `reporter: ids`, `reporter: same`, or `wanted`. */
function follower(agent: string, canRead = () => true): Follower & { told: string[] } {
  const told: string[] = [];
  return {
    agent,
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
    expect(views.views()).toMatchObject([{ cluster: 'a', reporter: 'head', followers: 3 }]);
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
    const head = follower('head');
    for (let count = 0; count < 210; count++) views.report(head, { ...report('x'), cluster: `c${count}` });
    expect(views.views()).toHaveLength(200);
    clock.advance(3_700_000);
    views.report(head, { ...report('x'), cluster: 'new' });
    expect(views.views().map(({ cluster }) => cluster)).toEqual(['new']);
    views.stop();
    expect(clock.pending).toBe(0);
  });
});
