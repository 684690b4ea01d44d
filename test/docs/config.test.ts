import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { configPage } from '../../cli/config-page.ts';
import { packagePath } from '../../common/package.ts';

describe('docs/config.md', () => {
  it('is what the schemas say (else: npm run generate)', () => {
    expect(readFileSync(packagePath('docs/config.md'), 'utf8')).toBe(configPage());
  });

  it('tells a meaning for every key', () => {
    const rows = configPage()
      .split('\n')
      .filter((line) => line.startsWith('| `'));
    expect(rows.length).toBeGreaterThan(40);
    expect(rows.filter((row) => /\|\s*\|$/.test(row))).toEqual([]);
  });
});
