/**
 * Community ID 1.0, by which other tools (Zeek, Suricata, Elastic) name the same connection.
 * https://github.com/corelight/community-id-spec
 */
import { hash } from 'node:crypto';
import type { Address } from '../../common/address.ts';
import { isIpv4 } from './flow.ts';

/** The default of the specification; both ends of a comparison must use the same. */
const SEED = 0;
const IP_PROTOCOL_TCP = 6;

/** What is hashed: the seed, two addresses, the protocol and a zero, two ports. */
const SEED_LENGTH = 2;
const IPV4_INPUT = new DataView(new ArrayBuffer(SEED_LENGTH + 2 * 4 + 2 + 4));
const IPV6_INPUT = new DataView(new ArrayBuffer(SEED_LENGTH + 2 * 16 + 2 + 4));

/** An address with a port. */
interface Endpoint extends Address {
  readonly port: number;
}

/** The Community ID of a TCP connection; the order of the two endpoints does not matter. */
export function communityId(a: Endpoint, b: Endpoint): string {
  const isInOrder = compareEndpoints(a, b) <= 0;
  const first = isInOrder ? a : b;
  const second = isInOrder ? b : a;
  // One buffer for all, hashed in one go: 0.5 µs; a hash object that is fed field by field takes 3 µs.
  const input = isIpv4(a) && isIpv4(b) ? IPV4_INPUT : IPV6_INPUT;
  input.setUint16(0, SEED);
  let offset = writeAddress(input, SEED_LENGTH, first);
  offset = writeAddress(input, offset, second);
  input.setUint16(offset, IP_PROTOCOL_TCP << 8);
  input.setUint16(offset + 2, first.port);
  input.setUint16(offset + 4, second.port);
  return `1:${hash('sha1', input, 'base64')}`;
}

function compareEndpoints(a: Endpoint, b: Endpoint): number {
  return a.w0 - b.w0 || a.w1 - b.w1 || a.w2 - b.w2 || a.w3 - b.w3 || a.port - b.port;
}

/** Writes four bytes or sixteen, in network order; returns where they end. */
function writeAddress(input: DataView, offset: number, { w0, w1, w2, w3 }: Address): number {
  if (input === IPV4_INPUT) {
    input.setUint32(offset, w3);
    return offset + 4;
  }
  input.setUint32(offset, w0);
  input.setUint32(offset + 4, w1);
  input.setUint32(offset + 8, w2);
  input.setUint32(offset + 12, w3);
  return offset + 16;
}
