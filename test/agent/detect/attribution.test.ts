import { beforeEach, describe, expect, it } from 'vitest';
import {
  Attribution,
  LOOKS_A_TICK,
  type FoundProcess,
  type LookPriority,
} from '../../../agent/detect/attribution.ts';
import { FakeFlow, manyPeers } from '../../support/fake-flow.ts';
import { settle } from '../../support/settle.ts';

const NODE = '10.0.0.1:43800';
const FOUND: FoundProcess = { isRaylet: false, description: { user: { id: '1001' } } };

describe('Attribution', () => {
  let asked: number[];
  let answered: string[];
  let attribution: Attribution<undefined>;

  beforeEach(() => {
    asked = [];
    answered = [];
    attribution = new Attribution({
      isLocal: () => true,
      find: ({ remotePort }) => {
        asked.push(remotePort);
        return Promise.resolve(FOUND);
      },
    });
  });

  function ask(from: string, priority: LookPriority, bytes = 0): FakeFlow {
    const flow = new FakeFlow(from, NODE, 0);
    flow.move(bytes);
    attribution.ask(flow.flow, 'responder', priority, () => answered.push(from));
    return flow;
  }

  it('looks up so many from tick to tick, and the others later', async () => {
    for (let index = 0; index < 100; index++) ask(manyPeers(index), 'answered');
    expect(asked).toHaveLength(LOOKS_A_TICK.answered);
    attribution.tick();
    expect(asked).toHaveLength(2 * LOOKS_A_TICK.answered);
    for (let ticks = 0; ticks < 100; ticks++) attribution.tick();
    await settle();
    expect(new Set(answered).size).toBe(100);
  });

  it.each(['answered', 'unproven', 'attempt'] as const)(
    'looks up at once what this node opened to an object manager, in a flood of %s connections',
    async (priority) => {
      for (let index = 0; index < 10_000; index++) ask(manyPeers(index), priority);
      ask('192.0.2.9:5000', 'outgoing');
      await settle();
      expect(answered).toContain('192.0.2.9:5000');
    },
  );

  it('looks up first, of a flood of its own kind, what moved most', async () => {
    for (let index = 0; index < 10_000; index++) ask(manyPeers(index), 'outgoing');
    ask('192.0.2.9:5000', 'outgoing', 100_000);
    attribution.tick();
    await settle();
    expect(answered).toContain('192.0.2.9:5000');
  });

  it('counts those that ended before there was a look for them', () => {
    const flows = Array.from({ length: 15 }, (_, index) => ask(manyPeers(index), 'outgoing'));
    for (const { flow } of flows) attribution.ended(flow);
    expect(attribution.turnedAway).toEqual({ outgoing: 5, answered: 0, unproven: 0, attempt: 0 });
    attribution.tick();
    expect(asked).toHaveLength(LOOKS_A_TICK.outgoing);
  });

  it('never asks for more in a second than the finder does', () => {
    const looks = Object.values(LOOKS_A_TICK).reduce((sum, count) => sum + count, 0);
    expect(looks).toBe(20);
  });
});
