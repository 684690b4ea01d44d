/** Whom a connection counts for. */
import { formatPrefix, IPV4_MAPPED_WORD, parseAddress } from '../../common/address.ts';

/**
 * The address that limits per address go by: of IPv6 the first 64 bits, since one machine has all the others to choose
 * from (RFC 4291, section 2.5.4).
 */
export function sourceOf(remoteAddress: string | undefined): string {
  const address = parseAddress(remoteAddress?.replace(/%.*$/, '') ?? '');
  if (address === undefined) return 'unknown';
  const isIpv4 = address.w0 === 0 && address.w1 === 0 && address.w2 === IPV4_MAPPED_WORD;
  return formatPrefix(isIpv4 ? { ...address, bits: 128 } : { ...address, w2: 0, w3: 0, bits: 64 });
}
