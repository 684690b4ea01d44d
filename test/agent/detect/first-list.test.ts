import { describe, expect, it } from 'vitest';
import { FirstList, MAX_RAYLET_PEERS } from '../../../agent/detect/first-list.ts';
import { parseAddress, type Address } from '../../../common/address.ts';

const START_MS = Date.UTC(2026, 10, 23, 12);
const LONGEST_MS = 600_000;

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
}

function setUp(localNetworks: readonly string[], known: readonly string[] = []) {
  const membership: { hasList: boolean; awaitedSinceMs: number | undefined } = {
    hasList: false,
    awaitedSinceMs: START_MS,
  };
  const firstList = new FirstList({
    membership,
    longestMs: LONGEST_MS,
    settleMs: 250,
    graceMs: 10_000,
    localNetworks: () => localNetworks,
    knownAddresses: () => known.map(address),
  });
  /** A second after its packet, with the raylet's sockets read meanwhile. */
  const stepOf = (peer: string, afterMs = 1000) => {
    const nowMs = START_MS + afterMs;
    firstList.noteRayletPeers([], nowMs - 500);
    return firstList.step([address(peer)], nowMs - 1000, nowMs);
  };
  return { firstList, membership, stepOf };
}

describe('an unknown peer before the first list of members', () => {
  it.each([
    ['in the network of an interface', '10.77.200.9', ['10.77.0.11/16'], [], 'wait'],
    ['beside it', '10.78.0.9', ['10.77.0.11/16'], [], 'report'],
    ['in the network of a second interface', '172.16.5.9', ['10.77.0.11/24', '172.16.5.1/24'], [], 'wait'],
    ['near a single address of a cloud', '10.128.0.9', ['10.128.0.5/32'], [], 'wait'],
    ['further from it', '10.128.1.9', ['10.128.0.5/32'], [], 'report'],
    ['near an address without a length', '10.77.0.9', ['10.77.0.11'], [], 'wait'],
    ['near the head', '10.50.0.9', ['10.77.0.11/24'], ['10.50.0.1'], 'wait'],
    ['anywhere, by an interface that has no network', '192.0.2.9', ['10.77.0.11/0'], [], 'report'],
    ['in the network of loopback', '127.0.0.2', ['127.0.0.1/8'], [], 'report'],
    ['in an IPv6 network', 'fd77::9', ['fd77::1/64'], [], 'wait'],
    ['in another IPv6 network', 'fd78::9', ['fd77::1/64'], [], 'report'],
    ['link-local', 'fe80::9', ['fe80::1/64'], [], 'report'],
    ['of the other family', '10.77.0.9', ['fd77::1/64'], [], 'report'],
    ['where nothing is known of the node', '10.77.0.9', [], [], 'report'],
    ['where a network is no network', '10.77.0.9', ['eth0', '10.77.0.11/abc'], [], 'wait'],
  ] as const)('%s: %s', (_where, peer, networks, known, step) => {
    expect(setUp(networks, known).stepOf(peer)).toBe(step);
  });

  it('is outside only when the sockets of the raylet were read late enough, or could not be', () => {
    const { firstList } = setUp(['10.77.0.11/24']);
    const peer = [address('192.0.2.9')];
    const step = (nowMs: number) => firstList.step(peer, START_MS, START_MS + nowMs);
    firstList.noteRayletPeers([], START_MS + 249);
    expect([step(9999), step(10_000)]).toEqual(['wait', 'report']);
    firstList.noteRayletPeers([], START_MS + 250);
    expect(step(300)).toBe('report');
    firstList.noteRayletPeers(peer, START_MS + 1250);
    expect(step(1300)).toBe('wait');
  });

  it('is reported where the other end is one, too, that cannot be a member', () => {
    const { firstList } = setUp(['10.77.0.11/24']);
    firstList.noteRayletPeers([], START_MS + 1000);
    const ends = [address('10.77.0.9'), address('192.0.2.9')];
    expect(firstList.step(ends, START_MS, START_MS + 1000)).toBe('report');
  });

  it('waits no longer than the longest wait, whenever it comes, and not at all once there is a list', () => {
    const { membership, stepOf } = setUp(['10.77.0.11/24']);
    expect([stepOf('10.77.0.9', LONGEST_MS - 1), stepOf('10.77.0.9', LONGEST_MS)]).toEqual([
      'wait',
      'report',
    ]);
    membership.hasList = true;
    membership.awaitedSinceMs = undefined;
    expect(stepOf('10.77.0.9', LONGEST_MS)).toBeUndefined();
  });

  it('has the same wait while the raylet comes and goes, and another one after it was away for as long', () => {
    const { membership, stepOf } = setUp(['10.77.0.11/24']);
    const steps = (begin: number, end: number) => {
      const seen = new Set<unknown>();
      for (let afterMs = begin; afterMs < end; afterMs += 1000) {
        const isHere = afterMs % 60_000 < 30_000;
        membership.awaitedSinceMs = isHere ? START_MS + afterMs : undefined;
        seen.add(stepOf('10.77.0.9', afterMs));
      }
      return [...seen];
    };
    expect(steps(1000, LONGEST_MS)).toEqual(['wait']);
    expect(steps(LONGEST_MS + 1000, 2 * LONGEST_MS)).toEqual(['report']);
    membership.awaitedSinceMs = undefined;
    expect(stepOf('10.77.0.9', 3 * LONGEST_MS + 1)).toBeUndefined();
    membership.awaitedSinceMs = START_MS + 3 * LONGEST_MS + 2;
    expect(stepOf('10.77.0.9', 3 * LONGEST_MS + 2)).toBe('wait');
  });

  it('is remembered as a peer of the raylet with so many others, the latest ones', () => {
    const { firstList } = setUp([]);
    const peers = Array.from({ length: MAX_RAYLET_PEERS + 1 }, (_, index) =>
      address(`10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`),
    );
    for (const peer of peers) firstList.noteRayletPeers([peer], START_MS + 1000);
    const step = (peer: Address | undefined) => peer && firstList.step([peer], START_MS, START_MS + 1000);
    expect([step(peers[0]), step(peers[1]), step(peers.at(-1))]).toEqual(['report', 'wait', 'wait']);
  });
});
