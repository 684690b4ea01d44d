import { describe, expect, it } from 'vitest';
import { examineSharedViews } from '../../../cli/doctor/shared-views.ts';
import { PlasmawatchError } from '../../../common/errors.ts';

describe('examineSharedViews', () => {
  it('tells of a view that waits for a second agent, and what to do', async () => {
    const answer = {
      clusters: [
        { cluster: 'a', reporter: 'head', state: 'waiting' },
        { cluster: 'b', reporter: 'w1 and w2', state: 'confirmed' },
        { cluster: 'c', reporter: 'of an older collector' },
      ],
    };
    const checks = await examineSharedViews({
      get: (_path, schema) => Promise.resolve(schema.parse(answer)),
    });
    expect(checks).toMatchObject([{ name: 'shared members', ok: false }]);
    expect(checks[0]?.detail).toContain('what head reads of cluster a');
    expect(checks[0]?.fix).toContain('membership.reporters');
  });

  it('tells of addresses of nodes that do not count, where somebody has to look after that', async () => {
    const node = (name: string, ...refused: string[][]): object => ({
      node: name,
      addresses: [],
      refused: refused.map(([address, why]) => ({ address, why })),
    });
    const answer = {
      clusters: [],
      nodes: [
        node('w1', ['172.17.0.1', 'named by several agents']),
        node('w2', ['203.0.113.66', 'unknown peer of an open incident']),
        node('w3', ['10.0.0.3', 'the agent is not proven']),
        node('w4', ['10.0.0.4', 'the agent is not proven'], ['10.9.0.4', 'the agent is not proven']),
      ],
    };
    const checks = await examineSharedViews({
      get: (_path, schema) => Promise.resolve(schema.parse(answer)),
    });
    expect(checks.map(({ detail }) => detail)).toEqual([
      '203.0.113.66 of w2 counts for no other node: unknown peer of an open incident',
      '10.0.0.4 of w4 counts for no other node: the agent is not proven',
      '10.9.0.4 of w4 counts for no other node: the agent is not proven',
    ]);
    expect(checks.every(({ ok }) => !ok)).toBe(true);
  });

  it('leaves it to others to say that the collector does not answer', async () => {
    const refused = new PlasmawatchError('PW_API', 'refused');
    expect(await examineSharedViews({ get: () => Promise.reject(refused) })).toEqual([]);
  });
});
