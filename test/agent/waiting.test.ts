import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SETTLE_MS } from '../../agent/detect/unexpected.ts';
import { FreshLook } from '../../agent/membership/fresh-look.ts';
import { Membership } from '../../agent/membership/membership.ts';
import type { GroupView, LookResult, Provider } from '../../agent/membership/provider.ts';
import { Pipeline } from '../../agent/pipeline.ts';
import { GRACE_MS } from '../../rules/membership.ts';
import { Ruleset } from '../../rules/match.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { FakeProvider, membersView } from '../support/fake-provider.ts';
import { NaiveWaiting, type Entry } from '../support/naive-waiting.ts';
import { sampleRule } from '../support/sample-rule.ts';
import { settle } from '../support/settle.ts';
import { sendHandshake } from '../support/tcp-traffic.ts';

const NODE = '10.0.0.100';
const ADDRESSES = ['10.0.0.1', '10.0.0.2'];
const NODES = ['a', 'b'];
/** How long a source thinks. */
const LOOK_MS = 100;
/** Its answer is from a moment that is no packet's: nothing hangs on a limit that two share to the millisecond. */
const ODD_MS = 3;

/** A source that knows which node has which address, and is asked now and then, or at once. */
class Source implements Provider {
  readonly name = 'fake';
  readonly owners = new Map<string, string>();
  readonly begunMs: number[] = [];
  readonly #clock: FakeClock;
  readonly #log: Entry[];
  #publish: (view: GroupView) => void = () => {};
  isAway = false;

  constructor(clock: FakeClock, log: Entry[]) {
    this.#clock = clock;
    this.#log = log;
  }

  start(publish: (view: GroupView) => void): Promise<void> {
    this.#publish = publish;
    this.answer();
    return Promise.resolve();
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }

  refresh(): Promise<LookResult> {
    const begunMs = this.#clock.now();
    this.begunMs.push(begunMs);
    return new Promise((resolve) => {
      this.#clock.after(LOOK_MS, () => {
        this.answer(begunMs);
        resolve(this.isAway ? 'failed' : 'answered');
      });
    });
  }

  answer(begunMs = this.#clock.now()): void {
    if (this.isAway) return;
    const owners = new Map(this.owners);
    const asOfMs = begunMs + ODD_MS;
    this.#log.push({ type: 'view', owners, asOfMs, atMs: this.#clock.now() });
    const listed = new Set(owners.values());
    const members = [...owners].flatMap(([address, id]) =>
      membersView(address).members.map((member) => Object.assign({}, member, { id })),
    );
    this.#publish({ members, prefixes: [], asOfMs, ended: NODES.filter((id) => !listed.has(id)) });
  }
}

type Event = 'join' | 'leave' | 'packet' | 'look' | 'away' | 'back';
interface Step {
  readonly event: Event;
  readonly address: string;
  readonly node: string;
  /** In 10 ms. */
  readonly wait: number;
}

const step: fc.Arbitrary<Step> = fc.record({
  event: fc.constantFrom<Event>(
    'join',
    'join',
    'leave',
    'packet',
    'packet',
    'packet',
    'look',
    'away',
    'back',
  ),
  address: fc.constantFrom(...ADDRESSES),
  node: fc.constantFrom(...NODES),
  wait: fc.oneof(
    { weight: 3, arbitrary: fc.integer({ min: 1, max: 30 }) },
    { weight: 1, arbitrary: fc.integer({ min: 30, max: 1200 }) },
  ),
});

/** Plays the steps to an agent's parts, and writes down what happened and what was told. */
async function play(steps: readonly Step[]) {
  const clock = new FakeClock(Date.UTC(2026, 10, 23, 12));
  const log: Entry[] = [];
  const told: { readonly what: string; readonly atMs: number }[] = [];
  const source = new Source(clock, log);
  const membership = new Membership({
    clock,
    providers: new Map([['cluster', [new FakeProvider(membersView(NODE)), source]]]),
  });
  await membership.start();
  let ids = 0;
  const pipeline = new Pipeline({
    node: 'w1',
    policy: {
      membership,
      ruleset: new Ruleset({
        rules: [sampleRule()],
        services: new Map([['object-manager', [{ first: 43_800, last: 43_800 }]]]),
        groups: new Map(),
      }),
    },
    maxFlows: 1024,
    countOnOneInterface: true,
    createId: () => `anomaly-${++ids}`,
    interfaceName: () => undefined,
    reportAnomaly: ({ kind, flow }, phase) => {
      if (phase === 'opened') told.push({ what: `${kind} ${flow?.source.ip}`, atMs: clock.now() });
    },
    reportFlow: () => {},
    reportEvidence: () => {},
    wantPackets: () => {},
    waiting: { clock, graceMs: GRACE_MS, ask: () => freshLook.ask() },
  });
  const freshLook = new FreshLook({
    clock,
    settleMs: SETTLE_MS,
    look: () => membership.lookNow(),
    decide: (look) => {
      log.push({ type: 'look', ...look, atMs: clock.now() });
      return pipeline.decideHeld(look, clock.now());
    },
  });
  membership.onChange(() => pipeline.membershipChanged());
  clock.every(1000, () => {
    log.push({ type: 'tick', atMs: clock.now() });
    pipeline.tick(clock.now());
  });
  const pass = async (milliseconds: number): Promise<void> => {
    for (let passed = 0; passed < milliseconds; passed += 10) {
      clock.advance(10);
      await settle();
    }
  };
  let port = 5000;
  for (const { event, address, node, wait } of steps) {
    await pass(wait * 10);
    if (event === 'join') source.owners.set(address, node);
    else if (event === 'leave') source.owners.delete(address);
    else if (event === 'look') source.answer();
    else if (event === 'packet') {
      log.push({ type: 'packet', from: address, atMs: clock.now() });
      const time = clock.now() / 1000;
      sendHandshake(pipeline, { from: `${address}:${++port}`, to: `${NODE}:43800`, time });
    } else source.isAway = event === 'away';
  }
  await pass(12_000);
  await freshLook.stop();
  return { log, told, begunMs: source.begunMs };
}

/** What was told how long after the packet of that stranger. */
function delays({ log, told }: Awaited<ReturnType<typeof play>>): [string, number][] {
  const packets = log.flatMap((entry) => (entry.type === 'packet' ? [entry] : []));
  return told.map(({ what, atMs }) => [
    what,
    atMs - (packets.find(({ from }) => what.endsWith(` ${from}`))?.atMs ?? NaN),
  ]);
}

describe('strangers who may have joined just now', () => {
  it('are told of or not as a naive model says, in every order of join, leave, reuse, packet and look', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 16 }), async (steps) => {
        const { log, told, begunMs } = await play(steps);
        expect(told.map(({ what }) => what)).toEqual(new NaiveWaiting().tell(log));
        for (const [index, atMs] of begunMs.entries()) {
          expect(atMs - (begunMs[index - 1] ?? -Infinity)).toBeGreaterThanOrEqual(1000);
        }
      }),
      { numRuns: 150 },
    );
  }, 120_000);

  it('are told of within two seconds while the source answers, and at the end of the grace time at the latest', async () => {
    const stranger: Step = { event: 'packet', address: '10.0.0.1', node: 'a', wait: 1 };
    const other: Step = { ...stranger, address: '10.0.0.2', wait: 26 };
    const answered = await play([stranger, other]);
    expect(delays(answered)).toEqual([
      ['unexpected-peer 10.0.0.1', 350],
      // The next look, a second after the one that had begun too soon for it.
      ['unexpected-peer 10.0.0.2', 1090],
    ]);
    const away = await play([{ ...stranger, event: 'away' }, stranger]);
    const [[, delayMs] = []] = delays(away);
    expect(away.told).toHaveLength(1);
    expect(delayMs).toBeGreaterThanOrEqual(10_000);
    expect(delayMs).toBeLessThan(11_000);
  });

  it('leave no trace when they turn out to be members', async () => {
    const joins: Step = { event: 'join', address: '10.0.0.1', node: 'a', wait: 1 };
    const { told, begunMs } = await play([joins, { ...joins, event: 'packet' }]);
    expect(told).toEqual([]);
    expect(begunMs).toHaveLength(1);
  });
});
