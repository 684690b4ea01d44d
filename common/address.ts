/**
 * IP addresses and prefixes as numbers.
 *
 * An address is four 32-bit words in network order, IPv4 as `::ffff:a.b.c.d` (RFC 4291, section 2.5.5.2), so one
 * comparison serves both families and the packet path never builds a string. The words are signed, as `DataView.getInt32`
 * reads them: V8 keeps an unsigned one above 2^31 as a double on the heap.
 *
 * `::ffff:a.b.c.d` means IPv4 where a program says it to its kernel: in socket tables, in lists of members, in a
 * program's settings. In an IPv6 packet it does not: no host sends such packets for IPv4 and none takes them (RFC 4291,
 * section 2.5.5.2; RFC 6890), whoever makes them up wants to be taken for somebody else. So an address of the wire has a form
 * of its own here (`MAPPED_ON_WIRE_WORD`), which is no IPv4 address for anybody.
 */
import { isIPv4, isIPv6 } from 'node:net';

/** The third word of every IPv4-mapped address. */
export const IPV4_MAPPED_WORD = 0xffff;

/**
 * The first word of an address `::ffff:a.b.c.d` that was read from an IPv6 packet, in place of 0. That makes it one of the
 * multicast addresses that are assigned to nobody (RFC 4291, section 2.7.1), and none of them is an end of a TCP
 * connection (RFC 9293, section 3.9.2.3), so that nothing real looks like it.
 */
export const MAPPED_ON_WIRE_WORD = 0xff00_0000 | 0;

/** An address; each word is a signed 32-bit number. */
export interface Address {
  readonly w0: number;
  readonly w1: number;
  readonly w2: number;
  readonly w3: number;
}

/**
 * A prefix of one family, of 0 to 128 bits. IPv4 prefixes are counted in the mapped form: a /24 is 120 bits, and what
 * has fewer than 96 is of IPv6.
 */
export interface Prefix extends Address {
  readonly bits: number;
}

/** Whether it is an IPv4 address. */
export function isIpv4({ w0, w1, w2 }: Address): boolean {
  return w0 === 0 && w1 === 0 && w2 === IPV4_MAPPED_WORD;
}

/** Whether it is `::ffff:a.b.c.d` of an IPv6 packet. */
export function isMappedOnWire({ w0, w1, w2 }: Address): boolean {
  return w0 === MAPPED_ON_WIRE_WORD && w1 === 0 && w2 === IPV4_MAPPED_WORD;
}

/** An address by value, of one that goes on changing. */
export function copyAddress({ w0, w1, w2, w3 }: Address): Address {
  return { w0, w1, w2, w3 };
}

/**
 * The address that `text` names (dotted IPv4, or IPv6 of RFC 4291 without a zone), or undefined. As the kernel takes what a
 * program says: `::ffff:a.b.c.d` is IPv4.
 */
export function parseAddress(text: string): Address | undefined {
  if (isIPv4(text)) return { w0: 0, w1: 0, w2: IPV4_MAPPED_WORD, w3: parseIpv4(text) };
  if (!isIPv6(text) || text.includes('%')) return undefined;
  const groups = expandIpv6(text);
  const word = (index: number): number => ((groups[index] ?? 0) << 16) | (groups[index + 1] ?? 0);
  return { w0: word(0), w1: word(2), w2: word(4), w3: word(6) };
}

/** The same of the text that `formatAddress` made of a packet's address: there `::ffff:a.b.c.d` is no IPv4. */
export function parseFlowAddress(text: string): Address | undefined {
  const address = parseAddress(text);
  return address !== undefined && isIpv4(address) && !isIPv4(text)
    ? { ...address, w0: MAPPED_ON_WIRE_WORD }
    : address;
}

/** The bits that every IPv4-mapped address shares. */
const IPV4_MAPPED_BITS = 96;

/**
 * The prefix that `text` names (`10.0.0.0/8`, `fd77::/64`, or a single address); undefined when it is none. Part of IPv4
 * written as IPv6 (`::ffff:0:0/96`) is none: whoever writes a range of one family means no address of the other.
 */
export function parsePrefix(text: string): Prefix | undefined {
  const [addressText = '', bitsText, ...rest] = text.split('/');
  const address = parseAddress(addressText);
  if (address === undefined || rest.length > 0) return undefined;
  const width = isIPv4(addressText) ? 32 : 128;
  if (width === 128 && isIpv4(address) && Number(bitsText ?? 128) >= IPV4_MAPPED_BITS) return undefined;
  if (bitsText === undefined) return { ...address, bits: 128 };
  if (!/^\d{1,3}$/.test(bitsText) || Number(bitsText) > width) return undefined;
  return { ...address, bits: Number(bitsText) + (128 - width) };
}

/** Whether a prefix has no bits set beyond its length: `10.0.0.1/8` has. */
export function isCanonicalPrefix(prefix: Prefix): boolean {
  for (let index = 0; index < 4; index++) {
    if ((wordOf(prefix, index) & ~maskWord(prefix.bits, index)) !== 0) return false;
  }
  return true;
}

/** Whether the prefix covers the address given by its words. One of IPv6 covers no IPv4 address, not even `::/0`. */
export function prefixContains(prefix: Prefix, w0: number, w1: number, w2: number, w3: number): boolean {
  const { bits } = prefix;
  if (bits < IPV4_MAPPED_BITS && w2 === IPV4_MAPPED_WORD && w1 === 0 && w0 === 0) return false;
  return (
    ((prefix.w3 ^ w3) & maskWord(bits, 3)) === 0 &&
    ((prefix.w2 ^ w2) & maskWord(bits, 2)) === 0 &&
    ((prefix.w1 ^ w1) & maskWord(bits, 1)) === 0 &&
    ((prefix.w0 ^ w0) & maskWord(bits, 0)) === 0
  );
}

/** The text of an address: dotted for IPv4, RFC 5952 for IPv6 (section 5: `::ffff:192.0.2.1`). */
export function formatAddress(address: Address): string {
  const { w0, w1, w2, w3 } = address;
  if (isIpv4(address)) return formatIpv4(w3);
  if (isMappedOnWire(address)) return `::ffff:${formatIpv4(w3)}`;
  const groups = [w0, w1, w2, w3].flatMap((word) => [word >>> 16, word & 0xffff]);
  const [start, length] = longestZeroRun(groups);
  const hex = groups.map((group) => group.toString(16));
  if (length < 2) return hex.join(':');
  return `${hex.slice(0, start).join(':')}::${hex.slice(start + length).join(':')}`;
}

/** The text of a prefix, in the family's own count of bits; single addresses without a length. */
export function formatPrefix(prefix: Prefix): string {
  if (prefix.bits === 128) return formatAddress(prefix);
  const isOfIpv4 = prefix.bits >= IPV4_MAPPED_BITS && isIpv4(prefix);
  return `${formatAddress(prefix)}/${isOfIpv4 ? prefix.bits - IPV4_MAPPED_BITS : prefix.bits}`;
}

export function sameAddress(a: Address, b: Address): boolean {
  return a.w3 === b.w3 && a.w2 === b.w2 && a.w1 === b.w1 && a.w0 === b.w0;
}

/** Whether the address is in 127.0.0.0/8 or ::1. */
export function isLoopback({ w0, w1, w2, w3 }: Address): boolean {
  if (w0 !== 0 || w1 !== 0) return false;
  return w2 === IPV4_MAPPED_WORD ? w3 >>> 24 === 127 : w2 === 0 && w3 === 1;
}

/** Whether only this machine can reach the address; a name other than `localhost` may lead anywhere. */
export function isLoopbackHost(host: string): boolean {
  const address = parseAddress(host);
  return address === undefined ? host.toLowerCase() === 'localhost' : isLoopback(address);
}

function formatIpv4(word: number): string {
  return `${word >>> 24}.${(word >>> 16) & 255}.${(word >>> 8) & 255}.${word & 255}`;
}

function parseIpv4(text: string): number {
  let value = 0;
  for (const part of text.split('.')) value = (value << 8) | Number(part);
  return value;
}

function expandIpv6(text: string): number[] {
  const dotted = /(\d+\.\d+\.\d+\.\d+)$/.exec(text)?.[1];
  if (dotted !== undefined) {
    const value = parseIpv4(dotted);
    const hex = `${(value >>> 16).toString(16)}:${(value & 0xffff).toString(16)}`;
    return expandIpv6(text.slice(0, -dotted.length) + hex);
  }
  const [left = '', right] = text.split('::');
  const head = parseGroups(left);
  if (right === undefined) return head;
  const tail = parseGroups(right);
  return [...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail];
}

function parseGroups(text: string): number[] {
  return text === '' ? [] : text.split(':').map((group) => parseInt(group, 16));
}

function wordOf(address: Address, index: number): number {
  if (index === 0) return address.w0;
  if (index === 1) return address.w1;
  return index === 2 ? address.w2 : address.w3;
}

/** The mask of a prefix length within word `index`. */
function maskWord(bits: number, index: number): number {
  const inWord = bits - index * 32;
  if (inWord <= 0) return 0;
  return inWord >= 32 ? -1 : -1 << (32 - inWord);
}

/** Start and length of the first longest run of zero groups (RFC 5952, section 4.2). */
function longestZeroRun(groups: readonly number[]): [start: number, length: number] {
  let best: [number, number] = [0, 0];
  let start = 0;
  for (let index = 0; index <= groups.length; index++) {
    if (groups[index] === 0) continue;
    if (index - start > best[1]) best = [start, index - start];
    start = index + 1;
  }
  return best;
}
