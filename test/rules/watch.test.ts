import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock, type Clock } from '../../common/clock.ts';
import { loadRules } from '../../rules/load.ts';
import { watchRules, type RulesWatcher } from '../../rules/watch.ts';

let folder: string;
let watcher: RulesWatcher | undefined;
/** Names of the first rule of each content that was taken over, and messages of what was refused. */
let events: string[];

/** How often the watcher was told to look by the clock. */
let looks: number;

const countingClock: Clock = {
  ...systemClock,
  every: (intervalMs, work) =>
    systemClock.every(intervalMs, () => {
      looks++;
      work();
    }),
};

beforeEach(async () => {
  looks = 0;
  folder = await mkdtemp(join(tmpdir(), 'plasmawatch-watch-'));
  events = [];
});
afterEach(async () => {
  await watcher?.close();
  watcher = undefined;
  await rm(folder, { recursive: true });
});

function rulesText(name: string): string {
  return `version: 1\nallow:\n  - { name: ${name}, from: cluster, to: object-manager }\n`;
}

function watchPath(path: string, fingerprint?: string): void {
  watcher = watchRules({
    path,
    clock: countingClock,
    ...(fingerprint === undefined ? {} : { fingerprint }),
    onChange: ({ ruleset }) => events.push(ruleset.rules[0]?.name ?? 'none'),
    onRefused: (diagnostics) => events.push(diagnostics[0]?.message ?? ''),
  });
}

/** Watches a path, and forgets its first content once that was reported: what follows is a change. */
async function start(path: string): Promise<void> {
  watchPath(path);
  await expect.poll(() => events, PATIENCE).toHaveLength(1);
  events = [];
}

/** Longer than any change takes to be seen on a busy machine. */
const PATIENCE = { timeout: 10_000, interval: 20 };

describe('watchRules', () => {
  it('takes over what is written into the file', async () => {
    const path = join(folder, 'rules.yaml');
    await writeFile(path, rulesText('first'));
    await start(path);
    await writeFile(path, rulesText('second'));
    await expect.poll(() => events, PATIENCE).toEqual(['second']);
  });

  it('takes over a file that is renamed into place, as editors do', async () => {
    const path = join(folder, 'rules.yaml');
    await writeFile(path, rulesText('first'));
    await start(path);
    for (const name of ['second', 'third']) {
      await writeFile(`${path}.new`, rulesText(name));
      await rename(`${path}.new`, path);
      await expect.poll(() => events.at(-1), PATIENCE).toBe(name);
    }
    expect(events).toEqual(['second', 'third']);
  });

  it('takes over a swapped symbolic link, as Kubernetes does with a ConfigMap', async () => {
    for (const version of ['1', '2']) {
      await mkdir(join(folder, `..${version}`));
      await writeFile(join(folder, `..${version}`, 'rules.yaml'), rulesText(`version ${version}`));
    }
    await symlink('..1', join(folder, '..data'));
    await symlink('..data/rules.yaml', join(folder, 'rules.yaml'));
    await start(join(folder, 'rules.yaml'));
    await symlink('..2', join(folder, '..data.new'));
    await rename(join(folder, '..data.new'), join(folder, '..data'));
    await expect.poll(() => events, PATIENCE).toEqual(['version 2']);
  });

  it('takes over a file that appears in a folder', async () => {
    await writeFile(join(folder, 'b.yaml'), rulesText('second'));
    await start(folder);
    await writeFile(join(folder, 'a.yaml'), rulesText('first'));
    await expect.poll(() => events, PATIENCE).toEqual(['first']);
  });

  it('refuses wrong rules once, and takes over the next right ones', async () => {
    const path = join(folder, 'rules.yaml');
    await writeFile(path, rulesText('first'));
    await start(path);
    await writeFile(path, 'version: 1\nallows: []\n');
    await expect.poll(() => events, PATIENCE).toEqual(['unknown key `allows`; did you mean `allow`?']);
    // The same mistake in a new file is no news; two rounds of looking are enough to see the file.
    await writeFile(`${path}.new`, 'version: 1\nallows: []\n');
    await rename(`${path}.new`, path);
    const seen = looks;
    await expect.poll(() => looks, PATIENCE).toBeGreaterThanOrEqual(seen + 2);
    await writeFile(path, rulesText('second'));
    await expect
      .poll(() => events, PATIENCE)
      .toEqual(['unknown key `allows`; did you mean `allow`?', 'second']);
  });

  it('refuses a file that is gone, and says nothing when the same rules come back', async () => {
    const path = join(folder, 'rules.yaml');
    await writeFile(path, rulesText('first'));
    await start(path);
    await rm(path);
    await expect.poll(() => events, PATIENCE).toEqual(['cannot be read: no such file']);
    await writeFile(path, rulesText('first'));
    const seen = looks;
    await expect.poll(() => looks, PATIENCE).toBeGreaterThanOrEqual(seen + 2);
    await writeFile(path, rulesText('second'));
    await expect.poll(() => events, PATIENCE).toEqual(['cannot be read: no such file', 'second']);
  });

  it('reports the first content to an owner that has none', async () => {
    const path = join(folder, 'rules.yaml');
    await writeFile(path, rulesText('first'));
    watchPath(path);
    await expect.poll(() => events, PATIENCE).toEqual(['first']);
  });

  it('does not report the content that the owner has', async () => {
    const path = join(folder, 'rules.yaml');
    await writeFile(path, rulesText('first'));
    const { fingerprint } = await loadRules(path, { clock: systemClock });
    watchPath(path, fingerprint);
    await expect.poll(() => looks, PATIENCE).toBeGreaterThanOrEqual(2);
    await writeFile(path, rulesText('second'));
    await expect.poll(() => events, PATIENCE).toEqual(['second']);
  });

  it('sees changes by the look once a second where the kernel does not tell of them', async () => {
    // A folder that is a link: the kernel tells of changes in what it pointed to, and the rules are elsewhere now.
    await mkdir(join(folder, 'one'));
    await mkdir(join(folder, 'two'));
    await writeFile(join(folder, 'one', 'rules.yaml'), rulesText('first'));
    await writeFile(join(folder, 'two', 'rules.yaml'), rulesText('second'));
    await symlink('one', join(folder, 'current'));
    await start(join(folder, 'current'));
    await symlink('two', join(folder, 'next'));
    await rename(join(folder, 'next'), join(folder, 'current'));
    await expect.poll(() => events, PATIENCE).toEqual(['second']);
  });

  it('says nothing any more once closed, and can be closed twice', async () => {
    const path = join(folder, 'rules.yaml');
    await writeFile(path, rulesText('first'));
    await start(path);
    await watcher?.close();
    await watcher?.close();
    await writeFile(path, rulesText('second'));
    // Another watcher sees the change; the closed one would have by then.
    watcher = watchRules({
      path,
      clock: systemClock,
      onChange: ({ ruleset }) => events.push(`other: ${ruleset.rules[0]?.name ?? ''}`),
      onRefused: () => {},
    });
    await expect.poll(() => events, PATIENCE).toEqual(['other: second']);
  });
});
