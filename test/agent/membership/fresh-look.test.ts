import { describe, expect, it } from 'vitest';
import { FreshLook } from '../../../agent/membership/fresh-look.ts';
import type { LookResult } from '../../../agent/membership/provider.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { settle } from '../../support/settle.ts';

/** Looks of which each takes 100 ms; whoever waits does so for a number of looks. */
function setUp(looksToWait: number, result: LookResult = 'answered') {
  const clock = new FakeClock(0);
  const begun: number[] = [];
  const decided: { begunMs: number; result: LookResult }[] = [];
  const freshLook = new FreshLook({
    clock,
    settleMs: 250,
    look: () => {
      begun.push(clock.now());
      return new Promise((resolve) => {
        clock.after(100, () => resolve(result));
      });
    },
    decide: (look) => decided.push(look) < looksToWait,
  });
  const pass = async (milliseconds: number): Promise<void> => {
    for (let passed = 0; passed < milliseconds; passed += 50) {
      clock.advance(50);
      await settle();
    }
  };
  return { clock, freshLook, begun, decided, pass };
}

describe('FreshLook', () => {
  it('looks once for all that ask, a moment after the first question', async () => {
    const { freshLook, begun, decided, pass } = setUp(1);
    for (let question = 0; question < 100; question++) freshLook.ask();
    await pass(200);
    expect(begun).toEqual([]);
    await pass(3000);
    expect(begun).toEqual([250]);
    expect(decided).toEqual([{ begunMs: 250, result: 'answered' }]);
  });

  it('looks again while somebody waits, once a second', async () => {
    const { freshLook, begun, decided, pass } = setUp(3, 'failed');
    freshLook.ask();
    await pass(5000);
    expect(begun).toEqual([250, 1250, 2250]);
    expect(decided.map(({ result }) => result)).toEqual(['failed', 'failed', 'failed']);
  });

  it('begins no two looks within a second, however it is asked', async () => {
    const { freshLook, begun, pass } = setUp(1);
    freshLook.ask();
    await pass(400);
    freshLook.ask();
    await pass(2000);
    expect(begun).toEqual([250, 1250]);
  });

  it('tells nobody anything after it was stopped', async () => {
    const { clock, freshLook, decided, pass } = setUp(5);
    freshLook.ask();
    await pass(300);
    const stopped = freshLook.stop();
    await pass(200);
    await stopped;
    freshLook.ask();
    await pass(2000);
    expect(decided).toEqual([]);
    expect(clock.pending).toBe(0);
  });
});
