/** Whom a connection or a request counts for. */
import { formatPrefix, isIpv4, parseAddress, parsePrefix, prefixContains } from '../../common/address.ts';

/** Hops of a chain of proxies that are looked at; a longer one is somebody's invention. */
const MAX_HOPS = 16;

/** Whether an address is that of a reverse proxy whose word about its clients is taken. */
export type IsTrustedProxy = (address: string | undefined) => boolean;

/**
 * The address that limits per address go by: of IPv6 the first 64 bits, since one machine has all the others to choose
 * from (RFC 4291, section 2.5.4).
 */
export function sourceOf(remoteAddress: string | undefined): string {
  const address = parseAddress(remoteAddress?.replace(/%.*$/, '') ?? '');
  if (address === undefined) return 'unknown';
  return formatPrefix(isIpv4(address) ? { ...address, bits: 128 } : { ...address, w2: 0, w3: 0, bits: 64 });
}

/** @param ranges prefixes as text; what is none trusts nobody */
export function trustedProxies(ranges: readonly string[]): IsTrustedProxy {
  const prefixes = ranges.map(parsePrefix).filter((prefix) => prefix !== undefined);
  return (text) => {
    const address = parseAddress(text?.replace(/%.*$/, '') ?? '');
    if (address === undefined) return false;
    const { w0, w1, w2, w3 } = address;
    return prefixes.some((prefix) => prefixContains(prefix, w0, w1, w2, w3));
  };
}

/**
 * The address of who asks. A trusted proxy names it last in X-Forwarded-For; what stands before that, the client may have
 * written itself. So the entries are read from the right, past further proxies of ours, up to the first that is none. An
 * entry that is no address ends the reading: then the proxy that handed it on is the client.
 */
export function clientAddress(
  remoteAddress: string | undefined,
  forwardedFor: string | readonly string[] | undefined,
  isTrusted: IsTrustedProxy,
): string | undefined {
  let client = remoteAddress;
  const entries = [forwardedFor ?? []].flat().join(',').split(',').slice(-MAX_HOPS);
  while (isTrusted(client)) {
    const entry = addressIn(entries.pop() ?? '');
    if (entry === undefined) break;
    client = entry;
  }
  return client;
}

/** Of `10.0.0.1`, `10.0.0.1:4711`, `2001:db8::1` and `[2001:db8::1]:4711`. */
function addressIn(entry: string): string | undefined {
  const text = entry.trim();
  const bare = /^\[([^\]]*)\](?::\d{1,5})?$/.exec(text)?.[1] ?? /^([\d.]+):\d{1,5}$/.exec(text)?.[1] ?? text;
  return parseAddress(bare) === undefined ? undefined : bare;
}
