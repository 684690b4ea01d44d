/** What the tests of the kernel's flow table send, and what they share. */
import { systemClock } from '../../../common/clock.ts';
import { silentLogger } from '../../../common/log.ts';
import { TUNNEL_SEED } from '../../support/flow-watcher.ts';
import { freePort } from '../../support/free-port.ts';
import { tcpFrame } from '../../support/pcap-bytes.ts';

/** Ports that no other test process of the moment has. */
export const PORT = await freePort();
export const OTHER_PORT = await freePort();
export const WAIT = { timeout: 15_000, interval: 20 };
export const dependencies = { clock: systemClock, logger: silentLogger, tunnelSeed: TUNNEL_SEED };

export function isWatched(port: number): boolean {
  return port === PORT || port === OTHER_PORT;
}

/** One data packet of 154 bytes each. */
export function manyFlows(count: number, destinationMac = '000000000000'): Uint8Array[] {
  return Array.from({ length: count }, (_, index) => {
    const frame = tcpFrame({
      from: `10.1.${index >>> 8}.${index & 255}:${1024 + index}`,
      to: `10.9.0.2:${PORT}`,
      flags: 'A',
      payload: 100,
    });
    frame.set(Buffer.from(destinationMac, 'hex'));
    return frame;
  });
}

/** Handshake, data both ways, and the end. */
export function manyConnections(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, index) => {
    const client = `10.2.${index >>> 8}.${index & 255}:${2048 + index}`;
    const server = `10.9.0.2:${PORT}`;
    const there = { from: client, to: server };
    const back = { from: server, to: client };
    return [
      { ...there, flags: 'S', sequence: 1 },
      { ...back, flags: 'SA', sequence: 9, acknowledgment: 2 },
      { ...there, flags: 'A', sequence: 2, acknowledgment: 10 },
      { ...there, flags: 'AP', sequence: 2, acknowledgment: 10, payload: 1000 },
      { ...back, flags: 'AP', sequence: 10, acknowledgment: 1002, payload: 7 },
      { ...back, flags: 'A', sequence: 17, acknowledgment: 1002, payload: 1400 },
      ...(index % 2 === 0 ? [{ ...there, flags: 'FA', sequence: 1002, acknowledgment: 1417 }] : []),
      ...(index % 3 === 0 ? [{ ...back, flags: 'R', sequence: 1417 }] : []),
    ].map((segment) => tcpFrame(segment));
  }).flat();
}

/** One connection each: with tags, padding, options, extension headers, and fragments. */
export function oddFrames(): Uint8Array[] {
  const to = PORT.toString(16).padStart(4, '0');
  const tcp = (from: string, flags = '10'): string =>
    `${from}${to} 00000001 00000001 50${flags} ffff 0000 0000 01020304`;
  const ipv4 = (rest: string, { head = '4500002c', fragment = '0000', options = '' } = {}): string =>
    `${head} 0001${fragment} 40060000 0a030001 0a090002 ${options} ${rest}`;
  const ipv6 = (next: string, length: string, rest: string): string =>
    `60000000 ${length} ${next} 40 20010db8000000000000000000000001 20010db8000000000000000000000002 ${rest}`;
  const ethernet = '000000000000 020000000001';
  return [
    `${ethernet} 81000005 0800 ${ipv4(tcp('1001'))}`,
    `${ethernet} 88a80005 81000007 0800 ${ipv4(tcp('1002'))}`,
    `${ethernet} 88a80005 81004507 0800 ${ipv4(tcp('1003'))}`,
    `${ethernet} 81000005 86dd ${ipv6('06', '0018', tcp('1004'))}`,
    `${ethernet} 0800 ${ipv4(tcp('1005'))} 000000000000`,
    `${ethernet} 0800 ${ipv4(tcp('1006'), { head: '46000030', options: '01010101' })}`,
    `${ethernet} 86dd ${ipv6('06', '0018', tcp('1007'))}`,
    `${ethernet} 86dd ${ipv6('00', '0020', `0600010400000000 ${tcp('1008')}`)}`,
    `${ethernet} 86dd ${ipv6('00', '0034', `3300010400000000 0603000000000000000000000000000000000000 ${tcp('1009')}`)}`,
    `${ethernet} 86dd ${ipv6('2c', '0020', `0600000100000001 ${tcp('100a')}`)}`,
    `${ethernet} 0800 ${ipv4(tcp('100b'), { fragment: '2000' })}`,
    `${ethernet} 0800 ${ipv4(tcp('100c', '18'))}`,
  ].map((hex) => Buffer.from(hex.replaceAll(' ', ''), 'hex'));
}

/** A connection each, in the tunnels that are looked into: the outside is IPv4 or IPv6, the inside, too. */
export function tunnelledFrames(port = PORT): Uint8Array[] {
  let client = 0x2000;
  const tcp = (): string =>
    `${(++client).toString(16)}${hex(port, 2)} 00000001 00000001 5010 ffff 0000 0000 01020304`;
  const ipv4 = (protocol: string, rest: string, ends = '0a030001 0a090002'): string =>
    `4500 ${hex(20 + lengthOf(rest), 2)} 0001 0000 40${protocol}0000 ${ends} ${rest}`;
  const ipv6 = (protocol: string, rest: string): string =>
    `60000000 ${hex(lengthOf(rest), 2)} ${protocol}40 ${V6_ENDS} ${rest}`;
  const udp = (to: number, rest: string): string =>
    `3039 ${hex(to, 2)} ${hex(8 + lengthOf(rest), 2)} 0000 ${rest}`;
  const inner4 = (): string => ipv4('06', tcp());
  const inner6 = (): string => ipv6('06', tcp());
  const frame = (type: string, rest: string): string => `020000000002 020000000001 ${type} ${rest}`;
  const outer = (protocol: string, rest: string): string =>
    frame('0800', ipv4(protocol, rest, '0a0a0001 0a0a0002'));
  return [
    outer('11', udp(4789, `0800000000000700 ${frame('0800', inner4())}`)),
    outer('11', udp(8472, `0800000000000700 ${frame('86dd', inner6())}`)),
    frame('86dd', ipv6('11', udp(4789, `0800000000000700 ${frame('0800', inner4())}`))),
    outer('11', udp(6081, `0000655800000700 ${frame('0800', inner4())}`)),
    outer('11', udp(6081, `020086dd00000700 0102030405060708 ${inner6()}`)),
    outer('2f', `00000800 ${inner4()}`),
    outer('2f', `20006558 00000007 ${frame('86dd', inner6())}`),
    outer('2f', `b000 86dd 00000000 00000007 00000001 ${inner6()}`),
    outer('04', inner4()),
    outer('29', inner6()),
    frame('86dd', ipv6('04', inner4())),
  ].map((text) => Buffer.from(text.replaceAll(' ', ''), 'hex'));
}

/**
 * Frames in which a header says something else than the one around it, or in which a tunnel is none: what the program of the
 * kernel must see as user space does. Those of `seen` are a connection each, those of `unseen` none.
 */
export function contradictingFrames(): { readonly seen: Uint8Array[]; readonly unseen: Uint8Array[] } {
  let client = 0x3000;
  const ends4 = ['0a030001 0a090002', '0a0a0001 0a0a0002'] as const;
  const tcp = (): string =>
    `${(++client).toString(16)}${hex(PORT, 2)} 00000001 00000001 5010 ffff 0000 0000 01020304`;
  const ipv4 = (
    protocol: string,
    rest: string,
    ends: string = ends4[0],
    total = 20 + lengthOf(rest),
  ): string => `4500 ${hex(total, 2)} 0001 0000 40${protocol}0000 ${ends} ${rest}`;
  const ipv6 = (protocol: string, rest: string, ends: string, length = lengthOf(rest)): string =>
    `60000000 ${hex(length, 2)} ${protocol}40 ${ends} ${rest}`;
  const udp = (to: number, rest: string, { length = 8 + lengthOf(rest), from = 0x3039 } = {}): string =>
    `${hex(from, 2)} ${hex(to, 2)} ${hex(length, 2)} 0000 ${rest}`;
  const frame = (type: string, rest: string): string => `020000000002 020000000001 ${type} ${rest}`;
  const outer = (protocol: string, rest: string, total?: number): string =>
    frame('0800', ipv4(protocol, rest, ends4[1], total));
  const ethernet = (): string => frame('0800', ipv4('06', tcp()));
  const vxlan = (): string => `0800000000000700 ${ethernet()}`;
  const geneve = (): string => `0000655800000700 ${ethernet()}`;
  const mapped = '00000000000000000000ffff0a030001 00000000000000000000ffff0a090002';
  const seen = [
    // Two bytes of payload are behind the datagram, or behind the outer IP packet.
    outer('11', udp(4789, vxlan(), { length: 8 + lengthOf(vxlan()) - 2 })),
    outer('11', udp(6081, geneve(), { length: 8 + lengthOf(geneve()) - 2 })),
    outer('04', ipv4('06', tcp()), 20 + 44 - 2),
    // The datagram says to be longer than its packet, or nothing.
    outer('11', udp(4789, vxlan(), { length: 4000 })),
    outer('11', udp(4789, vxlan(), { length: 0 })),
    outer('11', udp(53, vxlan(), { from: 4789 })),
    // Handed up whole.
    outer('11', udp(1701, `000200070009 ff03 0021 ${ipv4('06', tcp())}`)),
    outer('11', udp(9999, `0003000000000005 ${ethernet()}`, { from: 1701 })),
    outer('73', `00000005 ${ethernet()}`),
    outer('11', udp(37_008, `01000001 01 ${ethernet()}`)),
    outer('2f', `20016400 003a 0700 ${ethernet()}`),
    outer('2f', `3001880b 0030 0001 00000001 ff03 0021 ${ipv4('06', tcp())}`),
    frame('86dd', ipv6('11', udp(37_008, `01000001 01 ${ethernet()}`), V6_ENDS)),
    frame('86dd', ipv6('73', `00000005 ${ethernet()}`, V6_ENDS)),
    // On a route that goes on to another address: loose and strict source routes, and segments left.
    ...['83', '89'].map((option) => frame('0800', sourceRouted(option, tcp()))),
    frame('86dd', ipv6('2b', `0602 00 01 00000000 ${FARTHER_V6} ${tcp()}`, V6_ENDS)),
    frame('86dd', ipv6('2b', `0602 04 01 00000000 ${FARTHER_V6} ${tcp()}`, V6_ENDS)),
    // A route that has come to its end, and an option that is none.
    frame('86dd', ipv6('2b', `0602 04 00 00000000 ${FARTHER_V6} ${tcp()}`, V6_ENDS)),
    frame('0800', `4600 0030 0001 0000 4006 0000 ${ends4[0]} 01010100 ${tcp()}`),
    // The same ports as the next, which is IPv4: two connections.
    frame('86dd', ipv6('06', '5000'.concat(hex(PORT, 2), '00000001 00000001 5010 ffff 0000 0000'), mapped)),
    frame('0800', ipv4('06', '5000'.concat(hex(PORT, 2), '00000001 00000001 5010 ffff 0000 0000'))),
  ];
  const unseen = [
    outer('11', udp(4789, vxlan(), { length: 16 })),
    outer('11', udp(6081, geneve(), { length: 16 })),
    outer('11', udp(8472, vxlan(), { length: 8 })),
    outer('11', udp(4789, vxlan(), { length: 7 })),
    frame('86dd', ipv6('11', udp(4789, vxlan(), { length: 16 }), V6_ENDS)),
    outer('04', ipv4('06', tcp()), 40),
    // No VNI, another version, a source route.
    outer('11', udp(4789, `0000000000000700 ${ethernet()}`)),
    outer('11', udp(6081, `4000655800000700 ${ethernet()}`)),
    outer('2f', `40000800 00000000 ${ipv4('06', tcp())}`),
    outer('2f', `00020800 ${ipv4('06', tcp())}`),
  ];
  const bytes = (text: string): Uint8Array => Buffer.from(text.replaceAll(' ', ''), 'hex');
  return { seen: seen.map(bytes), unseen: unseen.map(bytes) };
}

/** An IPv4 packet whose route goes on to 10.9.9.9. */
function sourceRouted(option: string, rest: string): string {
  return `4700 ${hex(28 + lengthOf(rest), 2)} 0001 0000 4006 0000 0a030001 0a090002 ${option}0704 0a090909 00 ${rest}`;
}

const FARTHER_V6 = '20010db8000000000000000000009999';
const V6_ENDS = '20010db8000000000000000000000001 20010db8000000000000000000000002';

function hex(number: number, bytes: number): string {
  return number.toString(16).padStart(bytes * 2, '0');
}

function lengthOf(text: string): number {
  return text.replaceAll(' ', '').length / 2;
}

export function isSyn(frame: Uint8Array): boolean {
  return frame[12] === 0x08 && frame[14] === 0x45 && ((frame[47] ?? 0) & 2) !== 0;
}
