import { describe, expect, it } from 'vitest';
import { isAuthorized } from '../../../collector/ingest/token.ts';

describe('isAuthorized', () => {
  it.each([
    ['Bearer right', true],
    ['bearer  right', true],
    ['Bearer wrong', false],
    ['Bearer rightt', false],
    ['Bearer', false],
    ['Bearer ', false],
    ['Basic right', false],
    ['right', false],
    ['', false],
    [undefined, false],
  ])('of %j is %s', (header, expected) => {
    expect(isAuthorized(header, 'right')).toBe(expected);
  });

  it('lets everybody pass where no token is configured', () => {
    expect(isAuthorized(undefined, undefined)).toBe(true);
  });
});
