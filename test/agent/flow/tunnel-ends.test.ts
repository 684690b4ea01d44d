import { beforeEach, describe, expect, it } from 'vitest';
import type { TunnelInterface } from '../../../agent/capture/linux/tunnel-interfaces.ts';
import { Packet } from '../../../agent/decode/packet.ts';
import { TunnelEnds } from '../../../agent/flow/tunnel-ends.ts';
import { copyAddress, parseAddress, parsePrefix } from '../../../common/address.ts';

/** More than are remembered of each kind. */
const MANY = 10_000;
const HERE = address('10.0.0.1');
const THERE = address('10.0.0.2');

describe('a tunnel whose packets stay in the kernel', () => {
  let interfaces: TunnelInterface[];
  let ends: TunnelEnds;

  beforeEach(() => {
    interfaces = [{ types: ['vxlan'], id: undefined, local: undefined, remote: undefined }];
    ends = new TunnelEnds([], {
      interfaces: () => interfaces,
      isLocal: ({ w3 }) => w3 === HERE.w3,
      isUnwrappedSeen: false,
    });
  });

  it('is still known after a flood of others', () => {
    expect(ends.placeOf(tunnel(1))).toBe('trusted');
    for (let id = 2; id < MANY; id++) ends.placeOf(tunnel(id, '203.0.113.5', '203.0.113.6'));
    expect(ends.placeOfKey(tunnel(1).tunnelKey)).toBe('trusted');
  });

  it('is still known after a flood of others that end here, as long as it is asked for', () => {
    ends.placeOf(tunnel(1));
    const places = new Set<string>();
    for (let id = 2; id < MANY; id++) {
      ends.placeOf(tunnel(id));
      if (id % 1000 === 0) places.add(ends.placeOfKey(tunnel(1).tunnelKey));
    }
    expect([...places]).toEqual(['trusted']);
  });

  it('is looked up again when another interface comes, when its own goes, and when it is back', () => {
    const [own] = interfaces;
    ends.placeOf(tunnel(1));
    const placesAfter: string[] = [];
    for (const now of [[own, { ...own, id: 9 }], [{ ...own, id: 9 }], [own]]) {
      interfaces = now as TunnelInterface[];
      ends.refresh();
      placesAfter.push(ends.placeOfKey(tunnel(1).tunnelKey));
    }
    expect(placesAfter).toEqual(['trusted', 'elsewhere', 'trusted']);
  });

  it('is plain traffic from the moment on that the rules say so', () => {
    interfaces = [];
    ends.refresh();
    expect(ends.placeOf(tunnel(1))).toBe('elsewhere');
    const prefix = parsePrefix('10.0.0.0/8');
    ends.setTrusted([{ type: 'vxlan', id: 1, ends: prefix === undefined ? [] : [prefix] }]);
    expect(ends.placeOfKey(tunnel(1).tunnelKey)).toBe('trusted');
  });
});

function tunnel(id: number, from?: string, to?: string): Packet {
  const source = from === undefined ? HERE : address(from);
  const destination = to === undefined ? THERE : address(to);
  return Object.assign(new Packet(), {
    tunnel: 'vxlan',
    tunnelDepth: 1,
    tunnelKey: (id * 2) | 1,
    outerTunnelId: id,
    outerSource0: source.w0,
    outerSource1: source.w1,
    outerSource2: source.w2,
    outerSource3: source.w3,
    outerDestination0: destination.w0,
    outerDestination1: destination.w1,
    outerDestination2: destination.w2,
    outerDestination3: destination.w3,
  });
}

function address(text: string) {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(`no address: ${text}`);
  return copyAddress(parsed);
}
