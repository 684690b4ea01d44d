import { describe, expect, it } from 'vitest';
import { examineAgent } from '../../../cli/doctor/agent.ts';
import { PlasmawatchError } from '../../../common/errors.ts';

const HEALTHY = {
  name: 'w2',
  state: 'connected',
  version: '0.1.0',
  capture: 'kernel',
  lastHeard: '2026-11-23T09:00:00.000Z',
  clock: null,
  rules: null,
  viewAgeSeconds: 4,
  losses: {},
  counters: { members: 3 },
};

/** A collector's API with these pages of agents. */
function collector(...pages: readonly (readonly object[])[]): Parameters<typeof examineAgent>[0] {
  return {
    get: (path, schema) => {
      const index = Number(/cursor=page(\d+)/.exec(path)?.[1] ?? 0);
      const nextCursor = index + 1 < pages.length ? `page${index + 1}` : null;
      return schema.parseAsync({ agents: pages[index] ?? [], nextCursor });
    },
  };
}

describe('examineAgent', () => {
  it('finds the agent of this node among all, and what it has lost', async () => {
    const others = [{ ...HEALTHY, name: 'w1' }];
    const lossy = { ...HEALTHY, losses: { capture_dropped: 12, reports_lost: null } };
    expect(await examineAgent(collector(others, [lossy]), 'w2')).toMatchObject([
      {
        name: 'agent',
        ok: true,
        detail:
          'w2 is connected, captures by kernel, heard at 2026-11-23T09:00:00.000Z, knows 3 members as of 4 s ago',
      },
      { name: 'losses', ok: false, detail: 'capture_dropped 12, reports_lost unknown' },
    ]);
  });

  it('says that the agent guesses its port, although this program may see it', async () => {
    const guessing = { ...HEALTHY, objectManager: { port: 43_800, source: 'guess' } };
    expect((await examineAgent(collector([guessing]), 'w2'))[1]).toMatchObject({
      name: 'ports',
      ok: false,
      detail: 'the agent on w2 watches object-manager port 43800: guessed, not confirmed',
    });
  });

  it.each([
    [0, 'the agent on w2 does not know the members of the cluster yet'],
    [1, 'the agent on w2 does not know the members of the cluster yet, and 1 unknown peer is pending'],
    [3, 'the agent on w2 does not know the members of the cluster yet, and 3 unknown peers are pending'],
  ])('says that the agent has no list of the members, with %d pending peers', async (pending, detail) => {
    const counters = { members: 2, membership_known: 0, peers_pending: pending };
    const [agent, known] = await examineAgent(collector([{ ...HEALTHY, counters }]), 'w2');
    expect(agent?.name === 'agent' && 'detail' in agent ? agent.detail : '').not.toContain('knows');
    expect(known).toMatchObject({ name: 'members known', ok: false, detail });
  });

  it('says so when nothing was lost', async () => {
    const [, losses] = await examineAgent(collector([HEALTHY]), 'w2');
    expect(losses).toMatchObject({
      ok: true,
      detail: 'the agent has lost nothing since its start',
      fix: null,
    });
  });

  it('names an agent that is not well', async () => {
    const [agent] = await examineAgent(collector([{ ...HEALTHY, state: 'blind' }]), 'w2');
    expect(agent).toMatchObject({ ok: false, detail: expect.stringContaining('w2 is blind') as string });
  });

  it.each([
    ['knows no such agent', collector([]), 'never heard of an agent w2'],
    [
      'does not answer',
      { get: () => Promise.reject(new PlasmawatchError('PW_API', 'no collector at 127.0.0.1:9440')) },
      'no collector at 127.0.0.1:9440',
    ],
  ])('is one finding where the collector %s', async (_title, client, detail) => {
    expect(await examineAgent(client, 'w2')).toMatchObject([
      { ok: false, detail: expect.stringContaining(detail) as string },
    ]);
  });
});
