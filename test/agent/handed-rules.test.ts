import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { HandedRulesKeeper } from '../../agent/handed-rules.ts';
import { signRules } from '../../common/handed-rules.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { makeRulesKeys, rulesText } from '../support/rules-keys.ts';

const keys = makeRulesKeys();
let folder: string;
let log: string[];

beforeEach(async () => {
  folder = join(await mkdtemp(join(tmpdir(), 'plasmawatch-handed-')), 'rules');
  log = [];
});
afterEach(() => rm(join(folder, '..'), { recursive: true }));

async function open(key = keys.publicKey): Promise<HandedRulesKeeper> {
  const logger = pino({ base: null }, { write: (line: string) => void log.push(line) });
  return HandedRulesKeeper.open({ folder, key, clock: new FakeClock(), logger });
}

const message = (version: number, text = rulesText(`10.0.0.${version}`), by = keys) =>
  signRules({ version, files: [{ name: 'rules.yaml', text }] }, by.privateKey);

/** The numbers of the versions that were taken over. */
function taken(keeper: HandedRulesKeeper): number[] {
  const versions: number[] = [];
  keeper.onChange(({ version }) => versions.push(version));
  return versions;
}

const waitFor = (condition: () => void): Promise<void> =>
  vi.waitFor(condition, { timeout: 10_000, interval: 5 });

describe('rules of the collector', () => {
  it('are taken over when they are signed and newer', async () => {
    const keeper = await open();
    expect(keeper.current).toBeUndefined();
    const versions = taken(keeper);
    keeper.take(message(1));
    await waitFor(() => expect(versions).toEqual([1]));
    keeper.take(message(2));
    await waitFor(() => expect(versions).toEqual([1, 2]));
    expect(keeper.current?.version).toBe(2);
    expect(keeper.current?.rules.sources.get(join(folder, '2', 'rules.yaml'))).toBe(rulesText('10.0.0.2'));
    await keeper.close();
    expect((await readdir(folder)).toSorted()).toEqual(['2', 'rules.json']);
    expect((await stat(join(folder, 'rules.json'))).mode & 0o777).toBe(0o600);
    expect(keeper.refused).toBe(0);
  });

  it('are there after a restart, without the collector', async () => {
    const before = await open();
    before.take(message(3));
    await waitFor(() => expect(before.current?.version).toBe(3));
    await before.close();
    const after = await open();
    expect(after.current?.version).toBe(3);
    expect(after.current?.rules.fingerprint).toBe(before.current?.rules.fingerprint);
    expect(after.refused).toBe(0);
  });

  it.each([
    ['somebody else signed them', message(9, undefined, makeRulesKeys()), 'not signed with the key'],
    ['they are older', message(4), 'they are version 4, older than 5'],
    ['they are wrong', message(9, 'version: 1\nalow: []\n'), 'unknown key `alow`'],
  ])('are refused, counted and told when %s; those before stay', async (_why, bad, problem) => {
    const keeper = await open();
    keeper.take(message(5));
    await waitFor(() => expect(keeper.current?.version).toBe(5));
    const versions = taken(keeper);
    keeper.take(bad);
    await waitFor(() => expect(keeper.refused).toBe(1));
    expect(log.at(-1)).toContain(problem);
    expect(keeper.current?.version).toBe(5);
    keeper.take(message(5));
    await keeper.close();
    expect(versions).toEqual([]);
    expect((await open()).current?.version).toBe(5);
    expect(keeper.refused).toBe(1);
  });

  it('that were changed on the disk are not those that were signed', async () => {
    const before = await open();
    before.take(message(3));
    await waitFor(() => expect(before.current?.version).toBe(3));
    await before.close();
    // What is unpacked is written anew from what was signed.
    await writeFile(join(folder, '3', 'rules.yaml'), rulesText('10.66.66.66'));
    expect((await open()).current?.rules.fingerprint).toBe(before.current?.rules.fingerprint);
    const text = await readFile(join(folder, 'rules.json'), 'utf8');
    await writeFile(join(folder, 'rules.json'), text.replace('"signature":"', '"signature":"AAAA'));
    const after = await open();
    expect(after.current).toBeUndefined();
    expect(after.refused).toBe(1);
    await writeFile(join(folder, 'rules.json'), text.slice(0, 100));
    expect((await open()).current).toBeUndefined();
  });

  it('are not those of another key after a restart', async () => {
    const before = await open();
    before.take(message(3));
    await waitFor(() => expect(before.current?.version).toBe(3));
    await before.close();
    const after = await open(makeRulesKeys().publicKey);
    expect(after.current).toBeUndefined();
    expect(log.at(-1)).toContain('not signed with the key');
  });

  it('that cannot be kept are not used', async () => {
    await writeFile(folder, 'a file where the folder should be');
    const keeper = await open();
    keeper.take(message(1));
    await waitFor(() => expect(keeper.refused).toBeGreaterThan(0));
    expect(keeper.current).toBeUndefined();
  });
});
