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

  it('tells of every number, amount, text and list how large it may be', () => {
    const values = [...configPage().matchAll(/^\| (`.+?`) \| (.*?) \| /gm)].map(
      ([, key = '', value = '']) => [key, value],
    );
    const unbounded = values.filter(([, value = '']) =>
      /\b(number|duration|size|text|texts|list)(?:;|$)/.test(value),
    );
    // Forms of their own: an address range, and hours with a time zone.
    expect(unbounded.map(([key]) => key)).toEqual([
      '`routes[].match.peer`',
      '`muteTimes[].hours`',
      '`muteTimes[].match.peer`',
    ]);
    expect(values).toContainEqual(['`incidents.updateInterval`', 'duration, 10s to 1d']);
    expect(values).toContainEqual(['`spool.maxSize`', 'size, 1MiB to 1TiB']);
    expect(values).toContainEqual(['`capture.maxFlows`', 'whole number, 1024 to 4000000']);
    expect(values).toContainEqual(['`store.keepDays`', 'number, above 0, at most 3650']);
  });
});
