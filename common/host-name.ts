/** Host names as other people's input: checked and bounded before anything is asked about them. */

/** RFC 1035, section 2.3.4, without a dot at the end. */
const MAX_NAME_LENGTH = 253;
/** `_` is no letter of a host name (RFC 1123, section 2.1), and hosts have it in their names all the same. */
const LABEL = /^(?!-)[A-Za-z0-9_-]{1,63}(?<!-)$/;

/**
 * The name in the form in which it is compared: lower case, with the dot at its end where it has one, which says that it is
 * complete. Undefined where it is no name: empty, too long, or an address however it is written (`0x7f.1`, `127.1`).
 */
export function parseHostName(text: string): string | undefined {
  const bare = text.endsWith('.') ? text.slice(0, -1) : text;
  if (bare.length === 0 || bare.length > MAX_NAME_LENGTH) return undefined;
  const labels = bare.split('.');
  if (!labels.every((label) => LABEL.test(label))) return undefined;
  // getaddrinfo(3) takes what inet_aton(3) takes for an address: no top-level domain is a number (RFC 3696, section 2).
  if (/^(?:\d+|0x[\da-f]*)$/i.test(labels.at(-1) ?? '')) return undefined;
  return text.toLowerCase();
}
