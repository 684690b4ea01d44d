import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as linux from '../../../../agent/capture/linux/constants.ts';
import { loadLibc } from '../../../../agent/capture/linux/libc.ts';
import { BPF, buildPortFilter, dropAll, encodeProgram } from '../../../../agent/capture/linux/port-filter.ts';
import { PortSet } from '../../../../agent/capture/source.ts';
import { type FilteredPacket, runFilter } from '../../../support/classic-bpf.ts';
import { missingForNamespaces } from '../../../support/netns.ts';

const SNAPLEN = 512;
const PACKET_HOST = 0;
const missing = missingForNamespaces();

describe('buildPortFilter', () => {
  const filter = buildPortFilter(new PortSet([443, 43_800, 43_801]), SNAPLEN);

  it.each([
    ['TCP to a watched port', ipv4({ destinationPort: 43_800 }), true],
    ['TCP from a watched port', ipv4({ sourcePort: 43_801 }), true],
    ['TCP of other ports', ipv4({ sourcePort: 442, destinationPort: 43_802 }), false],
    ['TCP to a watched port behind IPv4 options', ipv4({ headerLength: 60, destinationPort: 443 }), true],
    ['TCP of other ports behind IPv4 options', ipv4({ headerLength: 60 }), false],
    ['UDP to a watched port', ipv4({ protocol: 17, destinationPort: 443 }), false],
    ['a later fragment of TCP', ipv4({ fragment: 0x2001 }), true],
    ['a first fragment of other ports', ipv4({ fragment: 0x2000 }), false],
    ['a first fragment of a watched port', ipv4({ fragment: 0x2000, sourcePort: 443 }), true],
    ['a later fragment of UDP, which may be of a tunnel', ipv4({ protocol: 17, fragment: 1 }), true],
    ['a later fragment of ICMP', ipv4({ protocol: 1, fragment: 1 }), false],
    ['TCP over IPv6 to a watched port', ipv6({ destinationPort: 43_801 }), true],
    ['TCP over IPv6 of other ports', ipv6({}), false],
    ['IPv6 with a hop-by-hop header', ipv6({ nextHeader: 0 }), true],
    ['an IPv6 fragment', ipv6({ nextHeader: 44 }), true],
    ['UDP over IPv6', ipv6({ nextHeader: 17, destinationPort: 443 }), false],
    ['a packet with a VLAN tag still in it', { ...ipv4({}), protocol: linux.ETH_P_8021Q }, true],
    ['a packet with a service tag still in it', { ...ipv4({}), protocol: linux.ETH_P_8021AD }, true],
    ['GRE', ipv4({ protocol: 47 }), true],
    ['IP in IP', ipv4({ protocol: 4 }), true],
    ['IPv6 in IP', ipv4({ protocol: 41 }), true],
    ['Geneve', ipv4({ protocol: 17, destinationPort: 6081 }), true],
    ['L2TP over IP', ipv4({ protocol: 115 }), true],
    ['L2TP over IPv6', ipv6({ nextHeader: 115 }), true],
    ['L2TP', ipv4({ protocol: 17, destinationPort: 1701 }), true],
    ['L2TP by its source port', ipv4({ protocol: 17, sourcePort: 1701 }), true],
    ['TZSP behind IPv4 options', ipv4({ protocol: 17, headerLength: 24, destinationPort: 37_008 }), true],
    ['TZSP over IPv6', ipv6({ nextHeader: 17, destinationPort: 37_008 }), true],
    ['VXLAN by its source port', ipv4({ protocol: 17, sourcePort: 4789 }), true],
    ['Geneve over IPv6 by its source port', ipv6({ nextHeader: 17, sourcePort: 6081 }), true],
    ['VXLAN with a watched port inside', vxlan({ destinationPort: 443 }), true],
    ['VXLAN from a watched port inside, to the old port', vxlan({ sourcePort: 443 }, 8472), true],
    ['VXLAN with other ports inside', vxlan({}), false],
    ['VXLAN with UDP inside', vxlan({ protocol: 17, destinationPort: 443 }), false],
    ['VXLAN with a later fragment of TCP inside', vxlan({ fragment: 1 }), true],
    ['VXLAN with IPv4 options inside', vxlan({ headerLength: 24 }), true],
    ['VXLAN with IPv6 inside', vxlan({}, 4789, linux.ETH_P_IPV6), true],
    ['VXLAN with ARP inside', vxlan({}, 4789, 0x0806), false],
    ['VXLAN over IPv6', ipv6({ nextHeader: 17, destinationPort: 4789 }), true],
    ['GRE over IPv6', ipv6({ nextHeader: 47 }), true],
    ['ARP', { ...ipv4({}), protocol: 0x0806 }, false],
    [
      'the packet that leaves by Ethernet',
      outgoing(ipv4({ destinationPort: 443 }), linux.ARPHRD_ETHER),
      true,
    ],
    ['loopback on the way out', outgoing(ipv4({ destinationPort: 443 }), linux.ARPHRD_LOOPBACK), false],
    [
      'loopback on the way in',
      { ...ipv4({ destinationPort: 443 }), hardwareType: linux.ARPHRD_LOOPBACK },
      true,
    ],
    ['a packet that is cut before its ports', { ...ipv4({}), bytes: ipv4({}).bytes.subarray(0, 21) }, false],
    ['an empty packet', { ...ipv4({}), bytes: new Uint8Array(0) }, false],
  ])('decides on %s', (_title, packet, passes) => {
    expect(runFilter(filter, packet)).toBe(passes ? SNAPLEN : 0);
  });

  it('answers as a naive matcher for any ports and any set', () => {
    const port = fc.integer({ min: 0, max: 65_535 });
    const range = fc.tuple(port, fc.integer({ min: 0, max: 300 }));
    const ranges = fc.array(range, { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(ranges, port, port, fc.boolean(), fc.nat(), (ranges, source, destination, isIpv6, pick) => {
        const ports = portsOf(ranges);
        // Half of the source ports lie next to a bound, where mistakes are made.
        const [first = 0] = ranges[pick % ranges.length] ?? [];
        const sourcePort = pick % 2 === 0 ? source : Math.max(0, Math.min(65_535, first - 1 + (pick % 3)));
        const packet = (isIpv6 ? ipv6 : ipv4)({ sourcePort, destinationPort: destination });
        const expected = ports.has(sourcePort) || ports.has(destination);
        expect(runFilter(buildPortFilter(ports, SNAPLEN), packet)).toBe(expected ? SNAPLEN : 0);
      }),
    );
  });

  it('decides every port right for a set that needs long jumps', () => {
    const ports = new PortSet(Array.from({ length: 480 }, (_, index) => 100 + index * 100));
    const program = buildPortFilter(ports, SNAPLEN);
    expect(program.length).toBeGreaterThan(2000);
    for (let port = 0; port < 65_536; port += 50) {
      expect(runFilter(program, ipv4({ sourcePort: 1, destinationPort: port })) > 0).toBe(ports.has(port));
      expect(runFilter(program, ipv4({ sourcePort: port, destinationPort: 1 })) > 0).toBe(ports.has(port));
    }
  });

  it('holds the last port and the whole range', () => {
    const last = buildPortFilter(new PortSet([65_535]), SNAPLEN);
    expect(runFilter(last, ipv4({ destinationPort: 65_535 }))).toBe(SNAPLEN);
    expect(runFilter(last, ipv4({ destinationPort: 65_534 }))).toBe(0);
    const all = buildPortFilter(new PortSet(Array.from({ length: 65_536 }, (_, port) => port)), SNAPLEN);
    expect(runFilter(all, ipv4({ sourcePort: 0, destinationPort: 0 }))).toBe(SNAPLEN);
  });

  it('lets nothing pass for an empty set', () => {
    expect(buildPortFilter(new PortSet(), SNAPLEN)).toBe(dropAll);
    expect(runFilter(dropAll, ipv4({}))).toBe(0);
  });

  it('lets all TCP pass, and only TCP, when the ranges do not fit', () => {
    const ports = new PortSet(Array.from({ length: 2000 }, (_, index) => index * 2));
    const program = buildPortFilter(ports, SNAPLEN);
    expect(program.length).toBeLessThan(200);
    expect(runFilter(program, ipv4({ sourcePort: 5001, destinationPort: 5003 }))).toBe(SNAPLEN);
    expect(runFilter(program, ipv6({ sourcePort: 5001, destinationPort: 5003 }))).toBe(SNAPLEN);
    expect(runFilter(program, ipv4({ protocol: 17 }))).toBe(0);
  });
});

describe.skipIf(missing !== undefined)(`the kernel (needs ${missing ?? 'nothing more'})`, () => {
  it('accepts the programs of small, large and too large sets', async () => {
    const libc = await loadLibc();
    const socket = libc.socket(linux.AF_PACKET, linux.SOCK_DGRAM | linux.SOCK_CLOEXEC, 0, 'test');
    try {
      for (const count of [0, 1, 10, 480, 2000]) {
        const ports = new PortSet(Array.from({ length: count }, (_, index) => index * 7));
        const program = buildPortFilter(ports, SNAPLEN);
        libc.attachFilter(socket, linux.SO_ATTACH_FILTER, encodeProgram(program), program.length, 'test');
      }
      const endless = [{ code: BPF.LD_B_ABS, jumpTrue: 0, jumpFalse: 0, operand: 0 }];
      expect(() =>
        libc.attachFilter(socket, linux.SO_ATTACH_FILTER, encodeProgram(endless), endless.length, 'test'),
      ).toThrow('attach filter on test: EINVAL');
    } finally {
      libc.close(socket);
    }
  });
});

function portsOf(ranges: readonly (readonly [number, number])[]): PortSet {
  const ports = new PortSet();
  for (const [first, length] of ranges) {
    for (let port = first; port <= Math.min(65_535, first + length); port++) ports.add(port);
  }
  return ports;
}

function ipv4({
  sourcePort = 50_000,
  destinationPort = 80,
  protocol = 6,
  fragment = 0,
  headerLength = 20,
}: Partial<
  Record<'sourcePort' | 'destinationPort' | 'protocol' | 'fragment' | 'headerLength', number>
>): FilteredPacket {
  const bytes = new Uint8Array(headerLength + 20);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, 0x40 | (headerLength / 4));
  view.setUint16(6, fragment);
  view.setUint8(9, protocol);
  view.setUint16(headerLength, sourcePort);
  view.setUint16(headerLength + 2, destinationPort);
  return {
    bytes,
    protocol: linux.ETH_P_IP,
    packetType: PACKET_HOST,
    hardwareType: linux.ARPHRD_ETHER,
  };
}

/** UDP to a port with VXLAN, Ethernet, and an IPv4 packet inside. */
function vxlan(inner: Parameters<typeof ipv4>[0], port = 4789, etherType = linux.ETH_P_IP): FilteredPacket {
  const outer = ipv4({ protocol: 17, headerLength: 24, destinationPort: port });
  const { bytes } = ipv4(inner);
  const headers = Buffer.alloc(24 + 8 + 8 + 14);
  headers.set(outer.bytes.subarray(0, 28));
  headers.writeUInt8(0x08, 32);
  headers.writeUInt16BE(etherType, 52);
  return { ...outer, bytes: Buffer.concat([headers, bytes]) };
}

function ipv6({
  sourcePort = 50_000,
  destinationPort = 80,
  nextHeader = 6,
}: Partial<Record<'sourcePort' | 'destinationPort' | 'nextHeader', number>>): FilteredPacket {
  const bytes = new Uint8Array(60);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, 0x60);
  view.setUint8(6, nextHeader);
  view.setUint16(40, sourcePort);
  view.setUint16(42, destinationPort);
  return {
    bytes,
    protocol: linux.ETH_P_IPV6,
    packetType: PACKET_HOST,
    hardwareType: linux.ARPHRD_ETHER,
  };
}

function outgoing(packet: FilteredPacket, hardwareType: number): FilteredPacket {
  return { ...packet, packetType: linux.PACKET_OUTGOING, hardwareType };
}
