import { describe, expect, it } from 'vitest';
import { wrapped } from '../../cli/wrap.ts';

describe('a long line', () => {
  it.each([
    ['stays one where nothing limits it', undefined, ['who  one two three four']],
    ['stays one where it fits', 23, ['who  one two three four']],
    ['is broken between words under its text', 14, ['who  one two', '     three', '     four']],
    ['keeps a word that is too long', 6, ['who  one', '     two', '     three', '     four']],
  ])('%s', (_what, width, lines) => {
    expect(wrapped('who  ', 'one two three four', width)).toEqual(lines);
  });
});
