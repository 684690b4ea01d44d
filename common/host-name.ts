/** Host names as other people's input: checked and bounded before anything is asked about them. */

/** RFC 1035, section 2.3.4, without a dot at the end. */
const MAX_NAME_LENGTH = 253;
/**
 * Neither `_` nor a hyphen at the end belongs into a host name (RFC 1123, section 2.1); RFC 2181, section 11, lets both
 * stand in the DNS, and containers and Windows hosts have them. One that begins with a hyphen looks like an option.
 */
const LABEL = /^(?!-)[A-Za-z0-9_-]{1,63}$/;

/**
 * The name in the form in which it is compared: lower case, with the dot at its end where it has one, which says that it is
 * complete. Undefined where it is no name: empty, too long, or an address however it is written (`0x7f.1`, `127.1`).
 */
export function parseHostName(text: string): string | undefined {
  const bare = text.endsWith('.') ? text.slice(0, -1) : text;
  if (bare.length === 0 || bare.length > MAX_NAME_LENGTH) return undefined;
  const labels = bare.split('.');
  if (!labels.every((label) => LABEL.test(label))) return undefined;
  // getaddrinfo(3) reads nothing but numbers as inet_aton(3) does: as an address.
  if (labels.every((label) => /^(?:\d+|0x[\da-f]*)$/i.test(label))) return undefined;
  return text.toLowerCase();
}
