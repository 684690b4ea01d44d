import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { manPages } from '../../cli/man-pages.ts';
import { packagePath } from '../../common/package.ts';

const pages = await manPages();
const hasGroff = existsSync('/usr/bin/groff');

describe('the manual pages', () => {
  it('are those that the package installs', () => {
    const { man } = JSON.parse(readFileSync(packagePath('package.json'), 'utf8')) as { man: string[] };
    expect([...pages.keys()].map((file) => `dist/man/${file}`).toSorted()).toEqual(man.toSorted());
  });

  it('have every flag and verb of their command', () => {
    const page = pages.get('plasmawatch-incidents.1') ?? '';
    expect(page).toMatch(/^\.TH "PLASMAWATCH\\-INCIDENTS" 1 /);
    for (const words of [
      '\\-\\-watch',
      '\\-\\-deliveries',
      '\\-o, \\-\\-output',
      'plasmawatch incidents ack <id>',
    ])
      expect(page).toContain(words);
    expect(pages.get('plasmawatch.1')).toContain('.B plasmawatch silences');
  });

  it('are made by the build', () => {
    execFileSync(process.execPath, [packagePath('dist/cli/man.cjs')]);
    for (const [file, text] of pages)
      expect(readFileSync(packagePath(`dist/man/${file}`), 'utf8')).toBe(text);
  });

  it.skipIf(!hasGroff)('are read by groff without a warning (needs /usr/bin/groff)', () => {
    for (const [file, text] of pages) {
      const { status, stdout, stderr } = spawnSync(
        'groff',
        ['-man', '-Tascii', '-P-c', '-P-b', '-P-u', '-ww'],
        {
          input: text,
          encoding: 'utf8',
        },
      );
      expect({ file, status, stderr }).toEqual({ file, status: 0, stderr: '' });
      expect(stdout).toContain('SEE ALSO');
    }
  });
});
