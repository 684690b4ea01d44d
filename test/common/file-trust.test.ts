import { execFileSync } from 'node:child_process';
import { chmod, chown, lchown, mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadYamlFile } from '../../common/config-file.ts';
import { judgeFile } from '../../common/file-trust.ts';
import { loadPem, loadSecret } from '../../common/secret.ts';
import { membersFileSchema } from '../../agent/membership/file.ts';
import { loadRules } from '../../rules/load.ts';
import { watchRules } from '../../rules/watch.ts';
import { secretFilesOf } from '../../cli/open-secrets.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { waitFor } from '../support/wait-for.ts';

type Verdict = 'problem' | 'warning' | 'nothing';

const OTHER = 12_345;
const isRoot = process.getuid?.() === 0;
const clock = new FakeClock();

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plasmawatch-trust-'));
  await mkdir(join(folder, 'etc'));
  file = join(folder, 'etc', 'file');
  await writeFile(file, 'version: 1\n', { mode: 0o600 });
});
afterEach(() => rm(folder, { recursive: true }));

describe.skipIf(!isRoot)('a file (needs root)', () => {
  /** Each way in which somebody else has a say, and what is made of it. */
  const CASES: readonly [what: string, prepare: () => Promise<unknown>, expected: Verdict][] = [
    ['of this user', () => chmod(file, 0o600), 'nothing'],
    ['that everybody may read', () => chmod(file, 0o644), 'nothing'],
    ['that everybody may write', () => chmod(file, 0o602), 'problem'],
    ['that everybody may write, behind a link', () => linked(() => chmod(file, 0o666)), 'problem'],
    ['in a folder that everybody may write', () => chmod(join(folder, 'etc'), 0o777), 'problem'],
    ['below a folder that everybody may write', () => chmod(folder, 0o703), 'problem'],
    ['in a folder like /tmp', () => chmod(join(folder, 'etc'), 0o1777), 'nothing'],
    ['of somebody else', () => chown(file, OTHER, OTHER), 'warning'],
    ['of somebody else in a folder like /tmp', () => foreignIn(0o1777), 'problem'],
    ['behind a link of somebody else', () => foreignLink(0o755), 'warning'],
    ['behind a link of somebody else in a folder like /tmp', () => foreignLink(0o1777), 'problem'],
    ['behind a link to a link in a folder that everybody may write', () => twoLinks(0o777), 'problem'],
    ['behind a link to a link of somebody else in a folder like /tmp', () => twoLinks(0o1777), 'problem'],
    ['behind a link to a link in a folder of nobody else', () => twoLinks(0o755, 0), 'nothing'],
    ['in a folder of somebody else', () => chown(join(folder, 'etc'), OTHER, OTHER), 'warning'],
    ['in a folder of somebody else that lies in one like /tmp', () => chown(folder, OTHER, OTHER), 'problem'],
    ['that another group may write', () => ofGroup(OTHER), 'warning'],
    ['that the group of root may write', () => ofGroup(0), 'nothing'],
  ];

  async function linked(then: () => Promise<unknown>): Promise<void> {
    await rename(file, join(folder, 'real'));
    await symlink(join(folder, 'real'), file);
    await then();
  }
  async function foreignIn(mode: number): Promise<void> {
    await chmod(join(folder, 'etc'), mode);
    await chown(file, OTHER, OTHER);
  }
  async function foreignLink(mode: number): Promise<void> {
    await linked(() => chmod(join(folder, 'etc'), mode));
    await lchown(file, OTHER, OTHER);
  }
  /** The first of them and the file are where nobody else may write; what is between is not. */
  async function twoLinks(mode: number, owner = OTHER): Promise<void> {
    await mkdir(join(folder, 'open'));
    await rename(file, join(folder, 'real'));
    await symlink('../real', join(folder, 'open/link'));
    await lchown(join(folder, 'open/link'), owner, owner);
    await chmod(join(folder, 'open'), mode);
    await symlink('../open/../open/./link', file);
  }
  async function ofGroup(gid: number): Promise<void> {
    await chown(file, 0, gid);
    await chmod(file, 0o660);
  }

  it('is taken from a folder as Kubernetes mounts a ConfigMap, with a warning', async () => {
    const volume = join(folder, 'volume');
    await mkdir(join(volume, '..2026_11_28'), { recursive: true });
    await writeFile(join(volume, '..2026_11_28', 'rules.yaml'), 'version: 1\n');
    await symlink('..2026_11_28', join(volume, '..data'));
    await symlink('..data/rules.yaml', join(volume, 'rules.yaml'));
    await chmod(volume, 0o777);
    const rules = join(folder, 'etc', 'rules.yaml');
    execFileSync('mount', ['--bind', volume, join(folder, 'etc')]);
    try {
      expect(Object.keys(await judgeFile(rules))).toEqual(['problem']);
      execFileSync('mount', ['-o', 'remount,bind,ro', join(folder, 'etc')]);
      expect(Object.keys(await judgeFile(rules))).toEqual(['warning']);
      const { ruleset, diagnostics } = await loadRules(rules, { clock });
      expect(diagnostics.map(({ severity }) => severity)).toEqual(['warning']);
      expect(ruleset).toBeDefined();
    } finally {
      execFileSync('umount', [join(folder, 'etc')]);
    }
  });

  it('is refused where all of the machine is read-only for this process alone (ProtectSystem=)', async () => {
    const machine = join(folder, 'machine of a service');
    await mkdir(join(machine, 'etc'), { recursive: true });
    await writeFile(join(machine, 'etc', 'rules.yaml'), 'version: 1\n');
    await chmod(join(machine, 'etc'), 0o777);
    execFileSync('mount', ['--bind', machine, machine]);
    try {
      execFileSync('mount', ['-o', 'remount,bind,ro', machine]);
      expect(Object.keys(await judgeFile(join(machine, 'etc', 'rules.yaml')))).toEqual(['problem']);
      // The folder that is mounted itself, with a name that the kernel has to write in another way.
      execFileSync('mount', ['--bind', join(machine, 'etc'), machine]);
      execFileSync('mount', ['-o', 'remount,bind,ro', machine]);
      expect(Object.keys(await judgeFile(join(machine, 'rules.yaml')))).toEqual(['warning']);
      execFileSync('umount', [machine]);
    } finally {
      execFileSync('umount', [machine]);
    }
  });

  it.each(CASES)('%s is judged', async (_what, prepare, expected) => {
    await prepare();
    const [verdict = 'nothing'] = Object.keys(await judgeFile(file));
    expect(verdict).toBe(expected);
  });

  it.each(CASES)('%s is refused, or warned of, wherever it is loaded', async (_what, prepare, expected) => {
    await prepare();
    const isRefused = expected === 'problem';
    const rules = await loadRules(file, { clock });
    expect(rules.ruleset === undefined).toBe(isRefused);
    expect(rules.diagnostics.map(({ severity }) => severity)).toEqual(
      { problem: ['error'], warning: ['warning'], nothing: [] }[expected],
    );
    await writeFile(file, '- 10.0.0.1\n');
    expect((await loadYamlFile(membersFileSchema, file)).value === undefined).toBe(isRefused);
    await writeFile(file, '-----BEGIN X-----');
    const results = await Promise.allSettled([loadSecret('token', { file }), loadPem('key', file)]);
    const problems = results.map((result) => (result.status === 'rejected' ? String(result.reason) : ''));
    expect(problems.map((problem) => problem.includes('refused: '))).toEqual([isRefused, isRefused]);
  });

  it('says what to do', async () => {
    await chmod(file, 0o666);
    const { diagnostics } = await loadRules(file, { clock });
    expect(diagnostics[0]?.message).toBe(`refused: everybody may write it: chmod o-w ${file}`);
  });

  it('that becomes writable for all is refused when it changes, and the rules before stay', async () => {
    const changes: string[] = [];
    const watcher = watchRules({
      path: file,
      clock,
      onChange: () => void changes.push('taken over'),
      onRefused: ([problem]) => void changes.push(problem?.message ?? ''),
    });
    try {
      await waitFor(() => changes.length === 1, 'the first look');
      await chmod(file, 0o666);
      await waitFor(() => {
        clock.advance(1000);
        return changes.length === 2;
      }, 'the refusal');
      expect(changes[1]).toContain('everybody may write it');
    } finally {
      await watcher.close();
    }
  });
});

describe('the secrets of settings', () => {
  it('are all files but certificates and public keys', () => {
    const files = secretFilesOf({
      agentTokenFile: 'a',
      tls: { cert: 'x', key: 'b', clientCa: 'x' },
      apiTokens: [{ name: 'x', tokenFile: 'c' }],
      receivers: [{ urlFile: 'd', caFile: 'x', certFile: 'x', keyFile: 'e', path: 'x' }],
      collector: { rulesKeyFile: 'x', certificateFile: 'x', keyFile: 'f' },
      rules: { path: 'x', keyFile: 'g' },
    });
    expect(files.map(({ file }) => file)).toEqual(['a', 'b', 'c', 'd', 'e', 'f', 'g']);
    expect(files[2]?.setting).toBe('apiTokens.0.tokenFile');
  });
});
