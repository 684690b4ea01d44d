import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { RulesDistributor } from '../../../collector/fleet/rules-distributor.ts';
import { openRules, type HandedRulesMessage } from '../../../common/handed-rules.ts';
import { PlasmawatchError } from '../../../common/errors.ts';
import { openParts } from '../../support/collector-parts.ts';
import { makeRulesKeys, rulesText } from '../../support/rules-keys.ts';

const keys = makeRulesKeys();
/** 2026-11-23 09:00:00 UTC, where the clock of the tests begins. */
const FIRST_VERSION = 1_795_424_400;

let parts: Awaited<ReturnType<typeof openParts>>;
let folder: string;
let path: string;
let distributor: RulesDistributor;

beforeEach(async () => {
  parts = await openParts();
  folder = await mkdtemp(join(tmpdir(), 'plasmawatch-rules-'));
  path = join(folder, 'allow.conf');
  await writeFile(path, rulesText('10.0.0.1'));
  distributor = open();
});
afterEach(async () => {
  await distributor.stop();
  parts.store.close();
  await rm(folder, { recursive: true });
});

function open(): RulesDistributor {
  const next = new RulesDistributor({ ...parts, path, key: keys.privateKey });
  next.start();
  return next;
}

/** Replaces the file, and lets the distributor look. */
async function change(text: string): Promise<void> {
  await writeFile(`${path}.new`, text);
  await rename(`${path}.new`, path);
}

const waitFor = (condition: () => unknown): Promise<void> =>
  vi.waitFor(
    async () => {
      parts.clock.advance(1000);
      await condition();
    },
    { timeout: 10_000, interval: 20 },
  );

/** An agent that takes what it is sent, while it has room. */
function follow(version = 0) {
  const agent = { hasRoom: true, got: [] as number[], texts: [] as string[] };
  const send = (message: HandedRulesMessage): boolean => {
    if (!agent.hasRoom) return false;
    const opened = openRules(message, keys.publicKey);
    if ('problem' in opened) throw new Error(opened.problem);
    agent.got.push(opened.rules.version);
    agent.texts.push(opened.rules.files.map(({ name, text }) => `${name}: ${text}`).join());
    return true;
  };
  const subscription = distributor.follow({ type: 'follow-rules', version }, send);
  return { ...subscription, agent };
}

const metric = async (name: 'rulesBehind' | 'rulesRefused' | 'rulesSent'): Promise<number> =>
  (await parts.metrics[name].get()).values[0]?.value ?? 0;

describe('rules of the collector', () => {
  it('are handed to every agent that wants them, numbered and signed', async () => {
    const early = follow();
    await waitFor(() => expect(early.agent.got).toHaveLength(1));
    const late = follow();
    await waitFor(() => expect(late.agent.got).toEqual(early.agent.got));
    expect(distributor.version).toBeGreaterThanOrEqual(FIRST_VERSION);
    expect(early.agent.texts).toEqual([`rules.yaml: ${rulesText('10.0.0.1')}`]);
    expect(await metric('rulesSent')).toBe(2);
  });

  it('follow their file, with a number that rises', async () => {
    const { agent } = follow();
    await waitFor(() => expect(agent.got).toHaveLength(1));
    await change(rulesText('10.0.0.1', '10.0.0.2'));
    await waitFor(() => expect(agent.got).toHaveLength(2));
    await change(rulesText('10.0.0.1'));
    await waitFor(() => expect(agent.got).toHaveLength(3));
    expect(agent.got).toEqual(agent.got.toSorted((a, b) => a - b));
    expect(new Set(agent.got).size).toBe(3);
    const { entries } = parts.store.audit.entries({ subject: 'rules', limit: 10 });
    expect(entries.map(({ details }) => details['version'])).toEqual(agent.got.toReversed());
    expect(entries[0]).toMatchObject({ actor: '(file)', action: 'rules.push', details: { path } });
  });

  it('are not handed out when they are wrong', async () => {
    const { agent } = follow();
    await waitFor(() => expect(agent.got).toHaveLength(1));
    await change('version: 1\nalow: []\n');
    await waitFor(async () => expect(await metric('rulesRefused')).toBe(1));
    expect(agent.got).toHaveLength(1);
  });

  it('keep their number in the next run, and are not sent to who has them', async () => {
    await waitFor(() => expect(distributor.version).toBeDefined());
    const { version } = distributor;
    await distributor.stop();
    parts.clock.advance(3_600_000);
    distributor = open();
    await waitFor(() => expect(distributor.version).toBe(version));
    expect(follow(version).agent.got).toEqual([]);
  });

  it('get a higher number than agents have, though the store was lost', async () => {
    await waitFor(() => expect(distributor.version).toBeDefined());
    const before = distributor.version ?? 0;
    await distributor.stop();
    const { clock } = parts;
    parts.store.close();
    parts = { ...(await openParts()), clock };
    await change(rulesText('10.0.0.9'));
    distributor = open();
    await waitFor(() => expect(distributor.version).toBeGreaterThan(before));
  });

  it('wait for an agent that has no room, and go a few at a time', async () => {
    await waitFor(() => expect(distributor.version).toBeDefined());
    const before = distributor.version ?? 0;
    await change(`${rulesText('10.0.0.1')}\n# ${'x'.repeat(300_000)}\n`);
    await waitFor(() => expect(distributor.version).toBeGreaterThan(before));
    const full = follow();
    full.agent.hasRoom = false;
    const others = Array.from({ length: 100 }, () => follow());
    const served = (): number => others.filter(({ agent }) => agent.got.length > 0).length;
    await waitFor(() => expect(served()).toBeGreaterThan(0));
    expect(served()).toBeLessThan(100);
    await waitFor(() => expect(served()).toBe(100));
    full.agent.hasRoom = true;
    await waitFor(() => expect(full.agent.got).toHaveLength(1));
  });

  it('are counted where an agent runs others', async () => {
    const { runs, leave, agent } = follow();
    await waitFor(() => expect(agent.got).toHaveLength(1));
    expect(await metric('rulesBehind')).toBe(1);
    runs(distributor.version ?? null);
    expect(await metric('rulesBehind')).toBe(0);
    runs(null);
    expect(await metric('rulesBehind')).toBe(1);
    leave();
    expect(await metric('rulesBehind')).toBe(0);
  });

  it('are handed out when the store can be written again', async () => {
    await distributor.stop();
    const { add } = parts.store.rules;
    parts.store.rules.add = () => {
      throw new PlasmawatchError('PW_STORE', 'cannot use the store: database or disk is full');
    };
    await change(rulesText('10.0.0.5'));
    distributor = open();
    const { agent } = follow();
    await waitFor(async () => expect((await parts.metrics.storeFailures.get()).values[0]?.value).toBe(2));
    expect(agent.got).toEqual([]);
    parts.store.rules.add = add;
    await waitFor(() => expect(agent.got).toHaveLength(1));
  });
});
