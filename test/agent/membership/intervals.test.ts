import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Membership } from '../../../agent/membership/membership.ts';
import { parseAddress, type Address } from '../../../common/address.ts';
import { GRACE_MS, LINGER_MS } from '../../../rules/membership.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { FakeProvider } from '../../support/fake-provider.ts';

const ADDRESSES = ['10.0.0.1', '10.0.0.2'];
const NODES = ['a', 'b'];
const START_MS = Date.UTC(2026, 10, 23);

/** Which node has which address: `a` has 10.0.0.1 and nobody has 10.0.0.2 is `['a', null]`. */
type Owners = readonly (string | null)[];
const owners = fc.array(fc.option(fc.constantFrom(...NODES)), { minLength: 2, maxLength: 2 });
const steps = fc.array(fc.record({ owners, waitMs: fc.integer({ min: 1, max: 60_000 }) }), { maxLength: 7 });

describe('an address over time', () => {
  it('belongs to whoever had it at the time of the packet, in every order of joining, leaving and reuse', async () => {
    await fc.assert(
      fc.asyncProperty(
        owners,
        steps,
        fc.integer({ min: -60_000, max: 600_000 }),
        async (first, later, afterMs) => {
          const clock = new FakeClock(START_MS);
          const provider = new FakeProvider(viewOf(first));
          const membership = new Membership({ providers: new Map([['cluster', [provider]]]), clock });
          await membership.start();
          const story = [{ owners: first, atMs: -Infinity }];
          for (const step of later) {
            clock.advance(step.waitMs);
            provider.publish(viewOf(step.owners));
            story.push({ owners: step.owners, atMs: clock.now() });
          }
          const timeMs = START_MS + afterMs;
          for (const [index, text] of ADDRESSES.entries()) {
            const times = timesOf(story, index);
            const isMember = times.some(
              ({ from, to }) => timeMs >= from - GRACE_MS && timeMs <= to + LINGER_MS,
            );
            const hasLeft = times.some(({ to }) => to + LINGER_MS < timeMs);
            const address = parse(text);
            expect(membership.inGroup('cluster', address, timeMs)).toBe(isMember);
            expect(membership.isFormerMember(address, timeMs)).toBe(hasLeft && !isMember);
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});

/** A view in which whoever is missing has ended, by the source's word. */
function viewOf(all: Owners) {
  const members = NODES.map((id) => ({
    id,
    addresses: ADDRESSES.filter((_, index) => all[index] === id).map(parse),
    ports: new Map<string, readonly number[]>(),
    source: 'fake',
  })).filter(({ addresses }) => addresses.length > 0);
  return { members, prefixes: [], ended: NODES.filter((id) => !all.includes(id)) };
}

/**
 * From when to when somebody had the address, told naively: a time for each node, from the view that shows it to the
 * one that does not.
 */
function timesOf(story: readonly { owners: Owners; atMs: number }[], index: number) {
  const times: { node: string; from: number; to: number }[] = [];
  for (const { owners: all, atMs } of story) {
    const node = all[index] ?? null;
    const last = times.at(-1);
    const lasts = last?.to === Infinity ? last : undefined;
    if (lasts?.node === node) continue;
    if (lasts !== undefined) lasts.to = atMs;
    if (node !== null) times.push({ node, from: atMs, to: Infinity });
  }
  return times;
}

function parse(text: string): Address {
  const address = parseAddress(text);
  if (address === undefined) throw new Error(text);
  return address;
}
