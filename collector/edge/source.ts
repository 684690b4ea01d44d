/** Whom a connection counts for. */
import { formatPrefix, isIpv4, parseAddress } from '../../common/address.ts';

/**
 * The address that limits per address go by: of IPv6 the first 64 bits, since one machine has all the others to choose
 * from (RFC 4291, section 2.5.4).
 */
export function sourceOf(remoteAddress: string | undefined): string {
  const address = parseAddress(remoteAddress?.replace(/%.*$/, '') ?? '');
  if (address === undefined) return 'unknown';
  return formatPrefix(isIpv4(address) ? { ...address, bits: 128 } : { ...address, w2: 0, w3: 0, bits: 64 });
}
