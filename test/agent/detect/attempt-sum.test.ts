import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AttemptSum } from '../../../agent/detect/attempt-sum.ts';
import { parseAddress, type Address } from '../../../common/address.ts';
import { attemptsSchema } from '../../../common/event.ts';

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
}

describe('AttemptSum', () => {
  it('lists prefixes and ports, the most frequent first', () => {
    const sum = new AttemptSum();
    for (let count = 0; count < 5; count++) sum.add(address(`198.51.100.${count}`), 43_800);
    for (let count = 0; count < 3; count++) sum.add(address(`fd77:1:2:3::${count + 1}`), 8265);
    sum.add(address('192.0.2.1'), 43_800);
    expect(sum.count).toBe(9);
    expect(sum.attempts()).toEqual({
      sources: [
        { prefix: '198.51.100.0/24', count: 5 },
        { prefix: 'fd77:1:2:3::/64', count: 3 },
        { prefix: '192.0.2.0/24', count: 1 },
      ],
      ports: [
        { port: 43_800, count: 6 },
        { port: 8265, count: 3 },
      ],
    });
    sum.clear();
    expect([sum.count, sum.attempts()]).toEqual([0, { sources: [], ports: [] }]);
  });

  it('finds who makes most attempts among invented addresses, and accuses nobody else', () => {
    const sum = new AttemptSum();
    for (let index = 0; index < 100_000; index++) {
      sum.add({ w0: 0, w1: 0, w2: 0xffff, w3: Math.imul(index, 0x9e3779b1) }, index);
      if (index % 10 === 0) sum.add(address('192.0.2.9'), 43_800);
    }
    const { sources, ports } = sum.attempts();
    expect(sources[0]?.prefix).toBe('192.0.2.0/24');
    expect(sources[0]?.count).toBeGreaterThan(9000);
    for (const { count } of sources.slice(1)) expect(count).toBeLessThan(100);
    expect(ports[0]).toEqual({ port: 43_800, count: 10_001 });
  });

  it('never lists more than the schema takes, nor more than there was', () => {
    const attempt = fc.record({
      w3: fc.integer({ min: 0, max: 1 << 20 }),
      port: fc.integer({ min: 0, max: 65_535 }),
    });
    fc.assert(
      fc.property(fc.array(attempt, { maxLength: 2000 }), (attempts) => {
        const sum = new AttemptSum();
        const truth = new Map<number, number>();
        for (const { w3, port } of attempts) {
          sum.add({ w0: 0, w1: 0, w2: 0xffff, w3 }, port);
          truth.set(w3 >> 8, (truth.get(w3 >> 8) ?? 0) + 1);
        }
        const { sources } = attemptsSchema.parse(sum.attempts());
        for (const { prefix, count } of sources) {
          const network = address(prefix.replace(/\/24$/, '')).w3 >> 8;
          expect(count).toBeLessThanOrEqual(truth.get(network) ?? 0);
        }
      }),
      { numRuns: 50 },
    );
  });

  it('makes nothing new for an attempt', () => {
    const sum = new AttemptSum();
    const source = { w0: 0, w1: 0, w2: 0xffff, w3: 0 };
    const add = (count: number): void => {
      for (let index = 0; index < count; index++) {
        source.w3 = Math.imul(index, 0x9e3779b1) | 0;
        sum.add(source, index & 0xffff);
      }
    };
    add(100_000);
    const before = process.memoryUsage().heapUsed;
    add(1_000_000);
    // A hundred bytes for each would be 100 MB; the rest is what the runner does beside.
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(20_000_000);
  });
});
