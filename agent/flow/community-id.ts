/**
 * Community ID 1.0, by which other tools (Zeek, Suricata, Elastic) name the same connection.
 * https://github.com/corelight/community-id-spec
 */
import { hash } from 'node:crypto';
import { IPV4_MAPPED_WORD, MAPPED_ON_WIRE_WORD, type Address } from '../../common/address.ts';
import { ADDRESS_A, ADDRESS_B, ADDRESS_WORDS, isIpv4At, portAt, PORTS, RECORD_WORDS } from './flow-store.ts';

/** The default of the specification; both ends of a comparison must use the same. */
const SEED = 0;
const IP_PROTOCOL_TCP = 6;

/** What is hashed: the seed, two addresses, the protocol and a zero, two ports. */
const SEED_LENGTH = 2;
const IPV4_INPUT = createInput(4);
const IPV6_INPUT = createInput(16);

/** An address with a port. */
interface Endpoint extends Address {
  readonly port: number;
}

/** Two endpoints as a flow's record has them. */
const ENDPOINTS = new Int32Array(RECORD_WORDS);

/** The Community ID of a TCP connection; the order of the two endpoints does not matter. */
export function communityId(a: Endpoint, b: Endpoint): string {
  setAddress(ADDRESS_A, a);
  setAddress(ADDRESS_B, b);
  ENDPOINTS[PORTS] = (a.port << 16) | b.port;
  return communityIdAt(ENDPOINTS, 0);
}

/**
 * The Community ID of a flow, by its record.
 *
 * @param words of the store (flow-store.ts)
 * @param record where it starts in them
 */
export function communityIdAt(words: Int32Array, record: number): string {
  const isInOrder = isAFirst(words, record);
  const first = record + (isInOrder ? ADDRESS_A : ADDRESS_B);
  const second = record + (isInOrder ? ADDRESS_B : ADDRESS_A);
  // One buffer for all, hashed in one go: 0.5 µs; a hash object that is fed field by field takes 3 µs.
  const isIpv4 = isIpv4At(words, first) && isIpv4At(words, second);
  const input = isIpv4 ? IPV4_INPUT : IPV6_INPUT;
  const addressLength = isIpv4 ? 4 : 16;
  let offset = SEED_LENGTH;
  for (let word = isIpv4 ? ADDRESS_WORDS - 1 : 0; word < ADDRESS_WORDS; word++) {
    input.setInt32(offset, wordOnWire(words, first, word));
    input.setInt32(offset + addressLength, wordOnWire(words, second, word));
    offset += 4;
  }
  offset += addressLength + 2;
  input.setUint16(offset, portAt(words, record, !isInOrder));
  input.setUint16(offset + 2, portAt(words, record, isInOrder));
  return `1:${hash('sha1', input, 'base64')}`;
}

/** With all that is always the same. */
function createInput(addressLength: number): DataView {
  const input = new DataView(new ArrayBuffer(SEED_LENGTH + 2 * addressLength + 2 + 4));
  input.setUint16(0, SEED);
  input.setUint8(SEED_LENGTH + 2 * addressLength, IP_PROTOCOL_TCP);
  return input;
}

function setAddress(address: number, { w0, w1, w2, w3 }: Address): void {
  ENDPOINTS[address] = w0;
  ENDPOINTS[address + 1] = w1;
  ENDPOINTS[address + 2] = w2;
  ENDPOINTS[address + 3] = w3;
}

/** Whether end A comes before end B: the lower address, then the lower port. */
function isAFirst(words: Int32Array, record: number): boolean {
  for (let index = 0; index < ADDRESS_WORDS; index++) {
    const a = wordOnWire(words, record + ADDRESS_A, index);
    const b = wordOnWire(words, record + ADDRESS_B, index);
    if (a !== b) return a >>> 0 < b >>> 0;
  }
  return portAt(words, record, false) <= portAt(words, record, true);
}

/** A word of the address that starts there, as in the packet. */
function wordOnWire(words: Int32Array, address: number, index: number): number {
  const word = words[address + index] as number;
  const isMapped =
    index === 0 &&
    word === MAPPED_ON_WIRE_WORD &&
    words[address + 1] === 0 &&
    words[address + 2] === IPV4_MAPPED_WORD;
  return isMapped ? 0 : word;
}
