/**
 * Community ID 1.0, by which other tools (Zeek, Suricata, Elastic) name the same connection.
 * https://github.com/corelight/community-id-spec
 */
import { createHash } from 'node:crypto';
import type { Address } from '../../common/address.ts';
import { isIpv4 } from './flow.ts';

/** The default of the specification; both ends of a comparison must use the same. */
const SEED = 0;
const IP_PROTOCOL_TCP = 6;

/** An address with a port. */
interface Endpoint extends Address {
  readonly port: number;
}

/** The Community ID of a TCP connection; the order of the two endpoints does not matter. */
export function communityId(a: Endpoint, b: Endpoint): string {
  const [first, second] = compareEndpoints(a, b) <= 0 ? [a, b] : [b, a];
  const hash = createHash('sha1');
  hash.update(uint16(SEED));
  hash.update(addressBytes(first));
  hash.update(addressBytes(second));
  hash.update(Uint8Array.of(IP_PROTOCOL_TCP, 0));
  hash.update(uint16(first.port));
  hash.update(uint16(second.port));
  return `1:${hash.digest('base64')}`;
}

function compareEndpoints(a: Endpoint, b: Endpoint): number {
  return a.w0 - b.w0 || a.w1 - b.w1 || a.w2 - b.w2 || a.w3 - b.w3 || a.port - b.port;
}

/** Four bytes or sixteen, in network order. */
function addressBytes(address: Address): Uint8Array {
  const words = isIpv4(address) ? [address.w3] : [address.w0, address.w1, address.w2, address.w3];
  const view = new DataView(new ArrayBuffer(words.length * 4));
  words.forEach((word, index) => view.setUint32(index * 4, word));
  return new Uint8Array(view.buffer);
}

function uint16(value: number): Uint8Array {
  return Uint8Array.of(value >>> 8, value & 0xff);
}
