/** Long lines on a terminal: broken between words, the rest under the beginning of the text. */
import { widthOf } from './table.ts';

/**
 * The lines of a text behind a label.
 * @param label stands before the first line; the others are indented by its width
 * @param width in characters that no line exceeds, where its words are short enough; undefined: one line
 */
export function wrapped(label: string, text: string, width: number | undefined): string[] {
  const indent = widthOf(label);
  if (width === undefined || indent + widthOf(text) <= width) return [`${label}${text}`.trimEnd()];
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (line !== '' && indent + widthOf(longer) > width) {
      lines.push(line);
      line = word;
    } else line = longer;
  }
  lines.push(line);
  return lines.map((each, index) => `${index === 0 ? label : ' '.repeat(indent)}${each}`.trimEnd());
}
