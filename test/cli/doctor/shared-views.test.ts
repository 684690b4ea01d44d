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

  it('leaves it to others to say that the collector does not answer', async () => {
    const refused = new PlasmawatchError('PW_API', 'refused');
    expect(await examineSharedViews({ get: () => Promise.reject(refused) })).toEqual([]);
  });
});
