/** Text that others wrote, made fit to be shown: a terminal, a log or a message must not be its to control. */

/**
 * What could move a cursor, break a line, turn text around, or hide in it: control and format characters, halves of
 * characters, separators of lines, and those that are drawn as nothing (fillers, selectors).
 */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]+/gu;
const UNSEEN_BUT_LINES = /(?![\n\t])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]/gu;

/** On one line: runs of what nobody would see become a space each. */
export function onOneLine(text: string): string {
  // Nearly all is ASCII, and this is ten times as fast.
  if (/^[ -~]*$/.test(text)) return text;
  return text.replaceAll(UNSEEN, ' ');
}

/** The same of text that has lines and tabs of its own. */
export function onItsLines(text: string): string {
  return text.replaceAll(UNSEEN_BUT_LINES, ' ');
}

/** The same without spaces at its ends. */
export function plainText(text: string): string {
  return onOneLine(text).trim();
}

/** JSON with what nobody would see written as `\\u202e`: the same value, and nothing for a terminal to act on. */
export function escapeUnseen(json: string): string {
  return json.replaceAll(UNSEEN, (run) =>
    Array.from({ length: run.length }, (_, index) => {
      return `\\u${run.charCodeAt(index).toString(16).padStart(4, '0')}`;
    }).join(''),
  );
}
