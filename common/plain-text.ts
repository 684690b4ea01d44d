/** Text that others wrote, made fit to be shown: a terminal, a log or a message must not be its to control. */

/** On one line: runs of what could move a cursor, break a line or turn text around become a space each. */
export function onOneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]+/gu, ' ');
}

/** The same without spaces at its ends. */
export function plainText(text: string): string {
  return onOneLine(text).trim();
}
