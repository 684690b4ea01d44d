import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { describeCommandLine } from '../../../agent/process/command-line.ts';

/** As /proc/PID/cmdline has it. */
function bytesOf(words: readonly string[]): string {
  return words.map((word) => `${word}\0`).join('');
}

describe('describeCommandLine', () => {
  it.each([
    [['nc', '10.77.0.12', '43800']],
    [['/usr/bin/python3', 'client.py', '--host=10.77.0.12', '--port', '43800']],
    [['node', '/srv/app/server.mjs', '-p', '8080']],
    [['/opt/ray-venv/lib/python3.11/site-packages/ray/core/src/ray/raylet/raylet', '--num_cpus=1']],
    [['--session_dir=/tmp/ray/session_2026-11-23_09-38-54_650297_5042']],
    [['run', '--id', '6fd1b6f0-2f0c-4a45-9f29-2d7f4a6a3c10']],
  ])('leaves an ordinary command line as it is: %j', (words) => {
    expect(describeCommandLine(bytesOf(words))).toBe(words.join(' '));
  });

  it.each([
    ['an option with =', ['app', '--db-password=hunter2'], 'app --db-password=***'],
    ['an option before its value', ['app', '--token', 'hunter2', '-v'], 'app --token *** -v'],
    ['a short password of a known program', ['sshpass', '-p', 'hunter2', 'ssh'], 'sshpass -p *** ssh'],
    ['a password that sticks to its option', ['/usr/bin/mysql', '-phunter2'], '/usr/bin/mysql -p***'],
    ['an environment', ['env', 'AWS_SECRET_ACCESS_KEY=hunter2', 'app'], 'env AWS_SECRET_ACCESS_KEY=*** app'],
    ['a header', ['curl', '-H', 'Authorization: Bearer hunter2', 'x'], "curl -H 'Authorization: ***' x"],
    ['a user with a password', ['curl', '-u', 'admin:hunter2', 'x'], 'curl -u admin:*** x'],
    ['a URL', ['app', 'redis://admin:hunter2@db:6379/0'], 'app redis://***@db:6379/0'],
    ['the query of a URL', ['curl', 'https://api/x?token=hunter2&y=1'], 'curl https://api/x?token=***'],
    [
      'a script',
      ['python3', '-c', "import x; x.login(password='hunter2')"],
      String.raw`python3 -c 'import x; x.login(password=***'`,
    ],
    ['JSON', ['app', '{"api_key": "hunter2"}'], `app '{"api_key": ***'`],
    ['a key by its form', ['app', 'AKIAIOSFODNN7EXAMPLE'], 'app ***'],
    ['a token by its form', ['app', 'ghp_16C7e42F292c6912E7710c838347Ae178B4a'], 'app ***'],
    ['base64 with a slash', ['app', 'wJalrXUtnFEMI/K7MDENG0bPxRfiCY/EXAMPLEKEY1'], 'app ***'],
    ['a folder that is a key', ['app', '/srv/0123456789abcdef0123/x'], 'app /srv/***/x'],
  ])('cuts %s', (_title, words, expected) => {
    expect(describeCommandLine(bytesOf(words))).toBe(expected);
  });

  it('never shows the value behind the name of a secret, whatever it is and however it is given', () => {
    const names = fc.constantFrom('password', 'token', 'api-key', 'secret', 'DB_PASSWD', 'credentials');
    const values = fc
      .string({ minLength: 1, maxLength: 40, unit: 'grapheme-ascii' })
      .map((text) => `QQ${text.replaceAll('\0', '')}ZZ`);
    const forms = fc.constantFrom<(name: string, value: string) => string[]>(
      (name, value) => [`--${name}=${value}`],
      (name, value) => [`--${name}`, value],
      (name, value) => [`${name}=${value}`],
      (name, value) => [`X-${name}: ${value}`],
      (name, value) => [`https://host/?a=1&${name}=${value}`],
      (name, value) => [`{"${name}":"${value}"}`],
    );
    fc.assert(
      fc.property(names, values, forms, (name, value, form) => {
        const shown = describeCommandLine(bytesOf(['app', ...form(name, value), '-v']));
        expect(shown).not.toMatch(/QQ|ZZ/);
      }),
    );
  });

  it('is one line of 512 characters at most, whatever it is given', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary', maxLength: 300 }), { maxLength: 20 }), (words) => {
        const shown = describeCommandLine(bytesOf(words));
        expect(shown.length).toBeLessThanOrEqual(512);
        expect(shown).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}]/u);
      }),
    );
  });

  it('quotes arguments with spaces, and not the lone title of a program that gave itself one', () => {
    expect(describeCommandLine(bytesOf(['sh', '-c', "it's me"]))).toBe(String.raw`sh -c 'it'\''s me'`);
    expect(describeCommandLine(`ray::Trainer.step\0${'\0'.repeat(300)}`)).toBe('ray::Trainer.step');
    expect(describeCommandLine(bytesOf(['nginx: worker process']))).toBe('nginx: worker process');
    expect(describeCommandLine('')).toBe('');
  });

  it('takes time that grows with its length alone, however many NULs there are', () => {
    // A pattern for the NULs at the end went through them once for each of them: for hours.
    expect(describeCommandLine(`raylet${'\0'.repeat(2_000_000)}x`)).toMatch(/^raylet/);
    expect(describeCommandLine(`raylet${'\0'.repeat(2_000_000)}`)).toBe('raylet');
  });
});
