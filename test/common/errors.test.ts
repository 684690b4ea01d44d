import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { joinLines, messageOf } from '../../common/errors.ts';

describe('a message as one line', () => {
  it('has a space for each break with what is blank around it', () => {
    const text = fc.array(fc.constantFrom('a', ' ', '\t', '\n', '\r\n', 'b c'), { maxLength: 20 });
    fc.assert(
      fc.property(text, (parts) => {
        const whole = `x${parts.join('')}y`;
        expect(joinLines(whole)).toBe(whole.replaceAll(/\s*\n\s*/g, ' '));
      }),
    );
  });

  it('is made of a long run of blanks in a time that does not grow with its square', () => {
    const blanks = ' '.repeat(2_000_000);
    expect(messageOf(new Error(`a${blanks}b`))).toBe(`a${blanks}b`);
    expect(messageOf(`a${blanks}\n${blanks}b`)).toBe('a b');
  });
});
