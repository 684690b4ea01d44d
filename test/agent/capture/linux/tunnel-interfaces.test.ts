import { spawnSync } from 'node:child_process';
import { afterEach, describe, expect, it } from 'vitest';
import { loadLibc } from '../../../../agent/capture/linux/libc.ts';
import {
  parseLinks,
  readTunnelInterfaces,
  type TunnelInterface,
} from '../../../../agent/capture/linux/tunnel-interfaces.ts';
import { formatAddress } from '../../../../common/address.ts';
import { ip, missingForNamespaces } from '../../../support/netns.ts';

const missing = missingForNamespaces();
/** Of this test process alone. */
const NAME = `pwt${process.pid}`.slice(0, 15);

describe.skipIf(missing !== undefined)(
  `interfaces that end tunnels (needs ${missing ?? 'nothing more'})`,
  () => {
    afterEach(() => {
      spawnSync('ip', ['link', 'del', NAME]);
    });

    it.each<[string, string[], string]>([
      ['vxlan with a number', ['vxlan', 'id', '77', 'dstport', '4789'], 'vxlan 77 any any'],
      [
        'vxlan with its own address',
        ['vxlan', 'id', '78', 'local', '127.0.0.1', 'dstport', '4789'],
        'vxlan 78 127.0.0.1 any',
      ],
      ['vxlan over IPv6', ['vxlan', 'id', '79', 'local', '::1', 'dstport', '8472'], 'vxlan 79 ::1 any'],
      ['vxlan for all numbers', ['vxlan', 'external', 'dstport', '4789'], 'vxlan all any any'],
    ])('are read from the kernel: %s', async (_name, words, expected) => {
      await ip('link', 'add', NAME, 'type', ...words);
      const before = await read();
      expect(before).not.toContain(expected);
      await ip('link', 'set', NAME, 'up');
      expect(await read()).toContain(expected);
    });

    it('leave out all others', async () => {
      await ip('link', 'add', NAME, 'type', 'bridge');
      const before = await read();
      await ip('link', 'set', NAME, 'up');
      expect(await read()).toEqual(before);
    });
  },
);

/** Numbers of attributes, and addresses: linux/if_link.h, linux/if_tunnel.h. */
const LOCAL4 = [127, 0, 0, 1];
const REMOTE4 = [192, 0, 2, 7];
const REMOTE6 = [0x20, 1, 0xd, 0xb8, ...Array<number>(11).fill(0), 7];

describe('an answer of the kernel', () => {
  it.each<[string, [number, number[]][], string]>([
    [
      'vxlan',
      [
        [1, [77, 0, 0, 0]],
        [2, REMOTE4],
      ],
      'vxlan 77 any any',
    ],
    [
      'vxlan',
      [
        [1, [0, 0, 0, 0]],
        [25, [1]],
      ],
      'vxlan all any any',
    ],
    [
      'geneve',
      [
        [1, [5, 0, 0, 0]],
        [2, REMOTE4],
      ],
      'geneve 5 any 192.0.2.7',
    ],
    [
      'geneve',
      [
        [1, [5, 0, 0, 0]],
        [7, REMOTE6],
      ],
      'geneve 5 any 2001:db8::7',
    ],
    ['geneve', [[6, []]], 'geneve all any any'],
    [
      'gre',
      [
        [6, LOCAL4],
        [7, REMOTE4],
      ],
      'gre all 127.0.0.1 192.0.2.7',
    ],
    [
      'gretap',
      [
        [6, LOCAL4],
        [7, [0, 0, 0, 0]],
      ],
      'gre all 127.0.0.1 any',
    ],
    ['ip6gre', [[7, REMOTE6]], 'gre all any 2001:db8::7'],
    [
      'erspan',
      [
        [6, LOCAL4],
        [7, REMOTE4],
      ],
      'erspan all 127.0.0.1 192.0.2.7',
    ],
    [
      'ipip',
      [
        [2, LOCAL4],
        [3, REMOTE4],
      ],
      'ipip all 127.0.0.1 192.0.2.7',
    ],
    ['sit', [[2, LOCAL4]], '6in4,ipip all 127.0.0.1 any'],
    ['l2tpeth', [], 'l2tp all any any'],
    ['ip6tnl', [[3, REMOTE6]], '6in6,4in6 all any 2001:db8::7'],
    [
      'ip6tnl',
      [
        [3, REMOTE6],
        [19, []],
      ],
      '6in6,4in6 all any any',
    ],
  ])('names an interface of the kind %s with %j: %s', (kind, attributes, expected) => {
    const found: TunnelInterface[] = [];
    parseLinks(linkMessage(kind, attributes, 1), found);
    expect(found.map(nameOf)).toEqual([expected]);
    parseLinks(linkMessage(kind, attributes, 0), found);
    expect(found).toHaveLength(1);
  });

  it('names no interface of another kind', () => {
    const found: TunnelInterface[] = [];
    parseLinks(linkMessage('bridge', [[1, [1, 0, 0, 0]]], 1), found);
    expect(found).toEqual([]);
  });

  it.each([
    ['that is empty', [], true],
    ['whose message is longer than it', [100, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], false],
    ['whose message is shorter than its header', [4, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], false],
    ['that is the end', [16, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], false],
    ['that is an error', [16, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], false],
    ['with a link without a body', [16, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], true],
  ])('%s names no interface', (_name, bytes, goesOn) => {
    const found: TunnelInterface[] = [];
    expect(parseLinks(new DataView(Uint8Array.from(bytes).buffer), found)).toBe(goesOn);
    expect(found).toEqual([]);
  });
});

async function read(): Promise<string[]> {
  return readTunnelInterfaces(await loadLibc()).map(nameOf);
}

function nameOf({ types, id, local, remote }: TunnelInterface): string {
  const text = (address: TunnelInterface['local']): string =>
    address === undefined ? 'any' : formatAddress(address);
  return `${types.join(',')} ${id ?? 'all'} ${text(local)} ${text(remote)}`;
}

/** An RTM_NEWLINK message in the byte order of the machines that tests run on. */
function linkMessage(kind: string, attributes: readonly [number, number[]][], flags: number): DataView {
  const data = attributes.flatMap(([type, value]) => attribute(type, value));
  const information = [...attribute(1, [...Buffer.from(`${kind}\0`)]), ...attribute(2, data)];
  const body = [0, 0, 0, 0, 9, 0, 0, 0, flags, 0, 0, 0, 0, 0, 0, 0, ...attribute(18, information)];
  const length = 16 + body.length;
  const header = [length & 255, length >>> 8, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
  return new DataView(Uint8Array.from([...header, ...body]).buffer);
}

function attribute(type: number, value: readonly number[]): number[] {
  const length = 4 + value.length;
  const padding = Array<number>((4 - (length % 4)) % 4).fill(0);
  return [length & 255, length >>> 8, type, 0, ...value, ...padding];
}
