import { beforeEach, describe, expect, it } from 'vitest';
import type { Raylet } from '../../../agent/ray/raylet.ts';
import { rememberRaylets } from '../../../agent/ray/recent-raylets.ts';
import { silentLogger } from '../../../common/log.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { sampleRaylet } from '../../support/sample-raylet.ts';

describe('rememberRaylets', () => {
  let clock: FakeClock;
  let searches: number;
  let here: readonly Raylet[] | undefined;
  let find: ReturnType<typeof rememberRaylets>;

  beforeEach(() => {
    clock = new FakeClock();
    searches = 0;
    here = [];
    find = rememberRaylets({
      clock,
      logger: silentLogger,
      findRaylets: () => {
        searches++;
        return here === undefined ? Promise.reject(new Error('hidden')) : Promise.resolve(here);
      },
    });
  });

  it('searches once in five seconds, however often it is asked', async () => {
    here = [sampleRaylet()];
    for (let asked = 0; asked < 50; asked++) {
      await find(asked % 2 === 0);
      clock.advance(100);
    }
    expect(searches).toBe(1);
    await find();
    expect(searches).toBe(2);
  });

  it('finds a raylet that has just started where somebody waits for it, and not before', async () => {
    expect(await find()).toEqual([]);
    here = [sampleRaylet()];
    expect(await find()).toEqual([]);
    expect(await find(true)).toEqual(here);
    await find(true);
    expect(searches).toBe(2);
  });

  it('takes the last ones while they cannot be looked for, and fails before there were any', async () => {
    here = undefined;
    await expect(find()).rejects.toThrow('hidden');
    here = [sampleRaylet()];
    clock.advance(5000);
    const found = await find();
    here = undefined;
    clock.advance(5000);
    expect(await find()).toEqual(found);
  });
});
