/** What nothing of ours may advise: whoever follows it opens a door. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { packagePath } from '../../common/package.ts';

const HARMFUL: readonly [what: string, pattern: RegExp][] = [
  ["a capability on node's file, which every user's script then has", /\bset(?:cap|priv)\b[^\n]*cap_/i],
  ['running as the user whose code is anybody’s', /^\s*(?:User|Group)=ray\b|runAsUser: *ray|--uid[= ]ray\b/m],
  ['a token among the arguments, which every user of the machine sees', /-H "Authorization: Bearer \$/],
  ["a credential in a file of the shell's mode", /plasmawatch agents enrol [^\n]*[^2&]> *\S/],
  ['files that everybody may write', /chmod +(?:-R +)?(?:a\+w|o\+w|0?[0-7]?[0-7][0-7][2367]\b)/],
];

const files = execFileSync(
  'git',
  ['ls-files', '*.md', '*.ts', '*.yaml', '*.yml', '*.service', '*.sh', 'deploy'],
  {
    cwd: packagePath('.'),
    encoding: 'utf8',
  },
)
  .split('\n')
  .filter((file) => file !== '' && !file.startsWith('test/') && !file.startsWith('.ci/'));

describe('no page, message or unit of ours', () => {
  it.each(HARMFUL)('advises %s', (_what, pattern) => {
    expect(files.length).toBeGreaterThan(300);
    const advising = files.filter((file) => pattern.test(readFileSync(packagePath(file), 'utf8')));
    expect(advising).toEqual([]);
  });
});
