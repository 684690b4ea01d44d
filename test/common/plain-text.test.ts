import { describe, expect, it } from 'vitest';
import { onOneLine, plainText } from '../../common/plain-text.ts';

describe('plainText', () => {
  it('drops what moves a cursor, breaks a line or turns text around', () => {
    expect(plainText(' a\r\nb\u202ec\u0000\u2028d ')).toBe('a b c d');
  });
});

describe('onOneLine', () => {
  it('does the same and keeps the spaces at the ends', () => {
    expect(onOneLine(' a\r\nb\u202ec\u0000\u2028d ')).toBe(' a b c d ');
  });
});
