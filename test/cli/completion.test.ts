import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packagePath } from '../../common/package.ts';
import { runCli } from '../support/run-cli.ts';

/** What bash offers for a command line, the last word unfinished, by the script that the program prints. */
async function offered(...words: string[]): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'plasmawatch-completion-'));
  try {
    const program = join(folder, 'plasmawatch');
    writeFileSync(program, `#!/bin/sh\nexec ${process.execPath} ${packagePath('dist/cli/main.cjs')} "$@"\n`);
    chmodSync(program, 0o755);
    const { stdout: script } = await runCli(['completion', 'bash']);
    const line = words.map((word) => `'${word}'`).join(' ');
    const { stdout, stderr } = spawnSync('bash', ['-s'], {
      input: `${script}\nCOMP_WORDS=(${line}); COMP_CWORD=${words.length - 1}; _plasmawatch; printf '%s\\n' "\${COMPREPLY[@]}"`,
      env: { PATH: `${folder}:/usr/bin:/bin` },
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    return stdout.split('\n').filter(Boolean);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe('plasmawatch completion', () => {
  it('completes commands, verbs and flags in bash', async () => {
    expect(await offered('plasmawatch', 'inc')).toEqual(['incidents']);
    expect(await offered('plasmawatch', 'incidents', 'ev')).toEqual(['evidence']);
    expect(await offered('plasmawatch', 'incidents', 'show', '--deliv')).toEqual(['--deliveries']);
  });

  it.each(['zsh', 'fish'])('prints a script for %s', async (shell) => {
    const { status, stdout } = await runCli(['completion', shell]);
    expect(status).toBe(0);
    expect(stdout).toContain('--get-yargs-completions');
  });

  it('knows no other shell', async () => {
    expect((await runCli(['completion', 'csh'])).status).toBe(2);
    expect((await runCli(['completion'])).stderr).toContain(
      '<shell> is missing: plasmawatch completion <shell>',
    );
  });
});
