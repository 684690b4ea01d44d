import { createHash } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import { AgentKey } from '../../../agent/uplink/agent-key.ts';
import { createUplink } from '../../../agent/uplink/client.ts';
import { openSpool } from '../../../agent/uplink/spool.ts';
import { Enrolments } from '../../../collector/fleet/enrolments.ts';
import { openParts } from '../../support/collector-parts.ts';
import { createHastenedClock } from '../../support/hastened-clock.ts';
import { runIngest } from '../../support/running-ingest.ts';

const HOUR_MS = 3_600_000;
const SHARED_TOKEN = 'token-that-all-agents-share';

let parts: Awaited<ReturnType<typeof openParts>>;
let enrolments: Enrolments;
let folder: string;
const closers: (() => unknown)[] = [];

beforeEach(async () => {
  parts = await openParts();
  enrolments = openEnrolments();
  folder = await mkdtemp(join(tmpdir(), 'plasmawatch-enrol-'));
});
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
  parts.store.close();
  await rm(folder, { recursive: true });
});

function openEnrolments(enrolledOnly = false): Enrolments {
  return new Enrolments({
    ...parts,
    token: SHARED_TOKEN,
    enrolledOnly,
    tokenLifeMs: HOUR_MS,
    maxAgents: 3,
  });
}

function issue(agent: string): string {
  const issued = enrolments.issue(agent, 'ada');
  if (issued === undefined) throw new Error('no token was issued');
  return issued.token;
}

const digestOf = (secret: string): string => createHash('sha256').update(secret).digest('hex');

/** Whether who presents this may come in as that agent. */
function mayEnter(secret: string, agent: string, newKey?: string): boolean {
  const credential = enrolments.identify(`Bearer ${secret}`);
  const keyDigest = newKey === undefined ? undefined : digestOf(newKey);
  return credential !== undefined && enrolments.admits({ agent, keyDigest }, credential);
}

describe('a one-time token', () => {
  it('is exchanged once, for a key that is bound to the name', () => {
    const token = issue('w1');
    expect(mayEnter(token, 'w1', 'key-1')).toBe(true);
    expect(mayEnter('key-1', 'w1')).toBe(true);
    expect(mayEnter('key-1', 'w2')).toBe(false);
    expect(mayEnter(token, 'w1', 'key-2')).toBe(false);
    expect(mayEnter('key-2', 'w1')).toBe(false);
  });

  it('may be presented again with the same key: the answer may have been lost', () => {
    const token = issue('w1');
    expect(mayEnter(token, 'w1', 'key-1')).toBe(true);
    expect(mayEnter(token, 'w1', 'key-1')).toBe(true);
  });

  it('is for its name only, and needs a key', () => {
    const token = issue('w1');
    expect(mayEnter(token, 'w2', 'key-1')).toBe(false);
    expect(mayEnter(token, 'w1')).toBe(false);
    expect(mayEnter(token, 'w1', 'key-1')).toBe(true);
  });

  it('holds for its time', () => {
    const token = issue('w1');
    const credential = enrolments.identify(`Bearer ${token}`);
    parts.clock.advance(HOUR_MS);
    expect(enrolments.identify(`Bearer ${token}`)).toBeUndefined();
    if (credential === undefined) throw new Error('the token was known before');
    expect(enrolments.admits({ agent: 'w1', keyDigest: digestOf('key-1') }, credential)).toBe(false);
  });

  it('takes the place of the one before, while the key holds until it is exchanged', () => {
    const first = issue('w1');
    expect(mayEnter(first, 'w1', 'key-1')).toBe(true);
    const second = issue('w1');
    expect(mayEnter(first, 'w1', 'key-1')).toBe(false);
    expect(mayEnter('key-1', 'w1')).toBe(true);
    expect(mayEnter(second, 'w1', 'key-2')).toBe(true);
    expect(mayEnter('key-1', 'w1')).toBe(false);
  });

  it('stands nowhere in the store, and who made it stands in the audit log', () => {
    const token = issue('w1');
    mayEnter(token, 'w1', 'key-1');
    expect(parts.store.enrolments.byToken(token)).toBeUndefined();
    expect(parts.store.enrolments.byToken(digestOf(token))).toMatchObject({ agent: 'w1' });
    expect(parts.store.enrolments.agentOfKey('key-1')).toBeUndefined();
    expect(parts.store.audit.entries({ limit: 10 }).entries).toMatchObject([
      { actor: 'ada', action: 'agent.enrol', subject: 'w1' },
    ]);
  });

  it('is not made for more names than there may be agents', () => {
    for (const name of ['w1', 'w2', 'w3']) issue(name);
    expect(enrolments.issue('w4', 'ada')).toBeUndefined();
    expect(enrolments.issue('w3', 'ada')).toBeDefined();
  });
});

describe('the token that all agents share', () => {
  it('opens no name that was enrolled, not even after its key was taken back', () => {
    const token = issue('w1');
    expect(mayEnter(SHARED_TOKEN, 'w1')).toBe(true);
    mayEnter(token, 'w1', 'key-1');
    expect(mayEnter(SHARED_TOKEN, 'w1')).toBe(false);
    parts.store.enrolments.revoke('w1', parts.clock.now());
    expect(mayEnter(SHARED_TOKEN, 'w1')).toBe(false);
    expect(mayEnter('key-1', 'w1')).toBe(false);
    expect(mayEnter(SHARED_TOKEN, 'w2')).toBe(true);
  });

  it('opens nothing where every agent needs a key', () => {
    enrolments = openEnrolments(true);
    expect(mayEnter(SHARED_TOKEN, 'w1')).toBe(false);
    expect(mayEnter(issue('w1'), 'w1', 'key-1')).toBe(true);
  });
});

describe('what is known of names', () => {
  it('is forgotten with agents that were not seen for long', () => {
    mayEnter(issue('w1'), 'w1', 'key-1');
    parts.clock.advance(2 * HOUR_MS);
    issue('w2');
    parts.store.remove({ beforeMs: parts.clock.now() - HOUR_MS, maxReports: 1000, maxRows: 100 });
    expect(parts.store.enrolments.has('w1')).toBe(false);
    expect(parts.store.enrolments.has('w2')).toBe(true);
  });
});

describe('an agent', () => {
  async function startIngest() {
    const { ingest, url, stop } = await runIngest(parts, { enrolments });
    closers.push(stop);
    return { ingest, url };
  }

  async function startAgent(url: string, key: AgentKey | undefined, token?: string) {
    const log: string[] = [];
    const spool = await openSpool({ path: ':memory:', maxBytes: 1e8, maxReports: 1e5 });
    const uplink = createUplink({
      url,
      token,
      key,
      spool,
      identity: { agent: 'w1', version: '0.1.0', capture: 'ring' },
      heartbeat: () => ({}),
      clock: createHastenedClock(50),
      logger: pino({ base: null }, { write: (line: string) => void log.push(line) }),
      random: () => 0.5,
      connect: (to, options) => new WebSocket(to, options),
    });
    let stopped: Promise<void> | undefined;
    // Once: Node's own SQLite refuses to be closed twice.
    const stop = (): Promise<void> => (stopped ??= uplink.stop().then(() => spool.close()));
    closers.push(stop);
    uplink.start();
    return { uplink, log, stop };
  }

  const waitFor = (condition: () => void): Promise<void> =>
    vi.waitFor(condition, { timeout: 10_000, interval: 5 });

  it('exchanges its token at the first start, comes in with its key afterwards, and not once it is retired', async () => {
    const { ingest, url } = await startIngest();
    const token = issue('w1');
    const first = await startAgent(url, await AgentKey.open(folder, token));
    await waitFor(() => expect(first.uplink.counters().connected).toBe(1));
    await first.stop();
    expect(await readdir(folder)).toEqual(['agent.key']);
    expect((await stat(join(folder, 'agent.key'))).mode & 0o777).toBe(0o600);

    const second = await startAgent(url, await AgentKey.open(folder, undefined));
    await waitFor(() => expect(second.uplink.counters().connected).toBe(1));
    expect(second.log.join('')).not.toContain((await readFile(join(folder, 'agent.key'), 'utf8')).trim());

    parts.fleet.retire('w1', 'ada');
    ingest.disconnect('w1');
    await waitFor(() => expect(second.log.at(-1)).toContain('the agent was retired'));
    await waitFor(() => expect(second.uplink.counters().failures).toBeGreaterThan(1));
    expect(ingest.connectedAgents().size).toBe(0);
    expect(parts.store.fleet.agent('w1')?.retiredMs).not.toBeNull();

    // Another token for the name makes it an agent again.
    await rm(join(folder, 'agent.key'));
    const third = await startAgent(url, await AgentKey.open(folder, issue('w1')));
    await waitFor(() => expect(third.uplink.counters().connected).toBe(1));
    expect(parts.store.fleet.agent('w1')?.retiredMs).toBeNull();
  });

  it('is refused with the token of another name, or with the shared one for a name that was enrolled', async () => {
    const { url } = await startIngest();
    const other = await startAgent(url, await AgentKey.open(folder, issue('w2')));
    await waitFor(() => expect(other.log.at(-1)).toContain('the name is bound to another key'));
    mayEnter(issue('w1'), 'w1', 'key-1');
    const shared = await startAgent(url, undefined, SHARED_TOKEN);
    await waitFor(() => expect(shared.log.at(-1)).toContain('the name is bound to another key'));
    const { values } = await parts.metrics.peersRefused.get();
    expect(values.find(({ labels }) => labels['reason'] === 'wrong-name')?.value).toBeGreaterThan(1);
  });
});

describe('the key of an agent', () => {
  it('is the same after an attempt whose answer was lost', async () => {
    const first = await AgentKey.open(folder, 'a-token');
    const again = await AgentKey.open(folder, 'a-token');
    expect(first?.bearer).toBe('a-token');
    expect(again?.newDigest).toBe(first?.newDigest);
    again?.confirm();
    expect(again?.newDigest).toBeUndefined();
    expect(digestOf((await AgentKey.open(folder, 'a-token'))?.bearer ?? '')).toBe(first?.newDigest);
  });

  it('is none where there is neither key nor token', async () => {
    expect(await AgentKey.open(folder, undefined)).toBeUndefined();
  });

  it('is refused with one line when it is damaged', async () => {
    await writeFile(join(folder, 'agent.key'), 'half a k');
    await expect(AgentKey.open(folder, 'a-token')).rejects.toMatchObject({
      code: 'PW_SECRET',
      message: `the agent's key ${join(folder, 'agent.key')} is damaged: remove it, and enrol the agent anew (plasmawatch agents enrol)`,
    });
  });

  it('is told when it cannot be written', async () => {
    await writeFile(join(folder, 'file'), '');
    await chmod(join(folder, 'file'), 0o600);
    await expect(AgentKey.open(join(folder, 'file'), 'a-token')).rejects.toThrow(
      /^cannot (read|write) the agent's key /,
    );
  });
});
