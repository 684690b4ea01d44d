import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { formatPcapFilter } from '../../../agent/capture/libpcap.ts';
import { PortSet } from '../../../agent/capture/source.ts';

const hasTcpdump = spawnSync('which', ['tcpdump']).status === 0;
/** What passes whatever the ports: packets that hide them. */
const HIDDEN = [
  '((ip proto 6 or ip proto 17) and ip[6:2] & 0x1fff != 0)',
  ...[4, 41, 47, 115].map((protocol) => `proto ${protocol}`),
  ...[4789, 8472, 6081, 1701, 37_008].map((port) => `udp port ${port}`),
  ...[0, 43, 44, 51, 60, 135, 139, 140].map((header) => `ip6[6] = ${header}`),
].join(' or ');

describe('formatPcapFilter', () => {
  it('names single ports and ranges, and what may hide its ports', () => {
    expect(formatPcapFilter(new PortSet([443, 43_800, 43_801]), false)).toBe(
      `tcp port 443 or tcp portrange 43800-43801 or ${HIDDEN}`,
    );
  });

  it('asks for the same inside one and two VLAN tags', () => {
    const plain = `tcp port 443 or ${HIDDEN}`;
    expect(formatPcapFilter(new PortSet([443]), true)).toBe(
      `${plain} or (vlan and (${plain} or (vlan and (${plain}))))`,
    );
  });

  it('asks for all TCP when there are many ranges', () => {
    const ports = new PortSet(Array.from({ length: 65 }, (_, index) => index * 2));
    expect(formatPcapFilter(ports, false)).toBe(`tcp or ${HIDDEN}`);
  });

  it.skipIf(!hasTcpdump)('writes what libpcap compiles (needs tcpdump)', () => {
    const ports = new PortSet(Array.from({ length: 64 }, (_, index) => index * 2));
    for (const set of [new PortSet(), new PortSet([1]), ports]) {
      const { status, stderr } = spawnSync('tcpdump', ['-y', 'EN10MB', '-d', formatPcapFilter(set, true)]);
      expect([status, stderr.toString()]).toEqual([0, expect.not.stringContaining('error')]);
    }
  });
});
