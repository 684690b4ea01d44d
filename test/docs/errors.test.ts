import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ERROR_CODES } from '../../common/errors.ts';

const page = await readFile(resolve(import.meta.dirname, '../../docs/errors.md'), 'utf8');
const sections = page.split(/^## /m).slice(1);

describe("the operators' list of error codes", () => {
  it('has an entry for each code, in the same order, and none besides', () => {
    expect(sections.map((section) => section.slice(0, section.indexOf('\n')))).toEqual([...ERROR_CODES]);
  });

  it.each(sections.map((section) => [section.slice(0, section.indexOf('\n')), section] as const))(
    'says of %s what it means, where it usually comes from and what to do',
    (_code, section) => {
      const [meaning = ''] = section.split('\n\n').slice(1);
      expect(meaning.trim()).not.toBe('');
      expect(section).toMatch(/\*\*Usual cause( and what to do)?:\*\*/);
      expect(section).toMatch(/\*\*(Do:|Usual cause and what to do:)\*\*/);
    },
  );
});
