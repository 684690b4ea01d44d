/** A node with several addresses is one node, in every kind of group: what it says to itself is nobody's intrusion. */
import { writeFileSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createMembership } from '../../../agent/membership/from-rules.ts';
import type { Membership } from '../../../agent/membership/membership.ts';
import type { FoundProcess } from '../../../agent/detect/attribution.ts';
import { Pipeline } from '../../../agent/pipeline.ts';
import { parseAddress, type Address } from '../../../common/address.ts';
import type { Anomaly, Verdict } from '../../../common/event.ts';
import { silentLogger } from '../../../common/log.ts';
import { explain } from '../../../rules/explain.ts';
import { Ruleset } from '../../../rules/match.ts';
import type { GroupSources } from '../../../rules/schema.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { sampleRaylet } from '../../support/sample-raylet.ts';
import { sampleRule } from '../../support/sample-rule.ts';
import { sendHandshake } from '../../support/tcp-traffic.ts';

/** The node, and another one. */
const W1 = '10.0.0.11';
const W2 = '10.0.0.12';
/** A second interface, IPv6, and a bridge for containers. */
const OTHERS_OF_W1 = ['192.168.7.11', 'fd77::11', '172.17.0.1'];
const LOCAL = ['127.0.0.1', '::1', W1, ...OTHERS_OF_W1];

const folder = mkdtempSync(join(tmpdir(), 'plasmawatch-one-node-'));
const membersFile = join(folder, 'members.yaml');
writeFileSync(membersFile, `- ${W1}\n- ${W2}\n`);

/** Each tells of one address of a node. */
const GROUPS: readonly (readonly [string, GroupSources])[] = [
  ['ray: auto', { ray: 'auto' }],
  ['cidr', { cidr: ['10.0.0.0/24'] }],
  ['hosts', { hosts: [W1, W2] }],
  ['hosts, by name', { hosts: ['w1.example', 'w2.example'] }],
  ['file', { file: membersFile }],
  ['dns', { dns: 'workers.example' }],
];

const WITHIN: readonly (readonly [from: string, to: string])[] = [
  ['127.0.0.1', '127.0.0.1'],
  ['127.0.0.1', '127.0.1.1'],
  ['127.0.0.2', W1],
  ['::1', '::1'],
  [W1, W1],
  [W1, '127.0.0.1'],
  ['192.168.7.11', W1],
  ['fd77::11', 'fd77::11'],
  ['172.17.0.1', W1],
];

describe.each(GROUPS)('with the group %s', (_, sources) => {
  it.each(WITHIN)('%s to %s is the node itself, at a service that no rule opens', async (from, to) => {
    const { judge, stop } = await open(sources);
    expect(judge(from, to, ['dashboard'])).toEqual({ allowed: true, rule: null, reason: 'allowed' });
    await stop();
  });

  it.each(OTHERS_OF_W1)('%s of this node is the member that the node is', async (address) => {
    const { judge, stop } = await open(sources);
    expect(judge(address, W2, ['object-manager']).allowed).toBe(sources.ray === undefined);
    expect(judge(W2, address, ['object-manager']).allowed).toBe(sources.ray === undefined);
    await stop();
  });

  it.each([
    // Somebody else's packets to loopback: a kernel with `route_localnet` takes them.
    ['192.0.2.9', '127.0.0.1'],
    ['192.0.2.9', W1],
    ['192.0.2.9', '192.168.7.11'],
    ['172.17.0.2', '172.17.0.1'],
  ])('%s to %s comes from elsewhere', async (from, to) => {
    const { judge, stop } = await open(sources);
    expect(judge(from, to, ['object-manager', 'dashboard']).allowed).toBe(false);
    await stop();
  });
});

it('a node in no group is not made a member by its other addresses', async () => {
  const { judge, stop } = await open({ cidr: ['10.9.0.0/24'] });
  expect(judge(W1, W2, ['object-manager']).allowed).toBe(false);
  expect(judge('10.9.0.1', W1, ['object-manager']).allowed).toBe(false);
  await stop();
});

describe('in a recording, whose machine is not known', () => {
  it.each([
    ['127.0.0.1', '127.0.0.1', true],
    ['::1', '::1', true],
    ['10.0.0.12', '10.0.0.12', true],
    // A source of loopback gets no answer from elsewhere.
    ['127.0.0.1', W1, true],
    [W1, '127.0.0.1', false],
    ['192.0.2.9', '127.0.0.1', false],
  ])('%s to %s: within the node %s', async (from, to, isWithin) => {
    const { judge, stop } = await open({ hosts: [W1, W2] }, []);
    expect(judge(from, to, ['dashboard']).allowed).toBe(isWithin);
    await stop();
  });

  it('a members file tells which addresses are of one node', async () => {
    const path = join(folder, 'several.yaml');
    writeFileSync(path, `- addresses: [${W1}, 192.168.7.11]\n- addresses: [${W2}]\n`);
    const { judge, stop } = await open({ file: path }, []);
    expect(judge('192.168.7.11', W1, ['dashboard']).allowed).toBe(true);
    expect(judge('192.168.7.11', W2, ['dashboard']).allowed).toBe(false);
    await stop();
  });
});

it('`rules explain` says why', async () => {
  const { membership, ruleset, stop } = await open({ cidr: ['10.0.0.0/24'] });
  const question = { source: address('127.0.0.1'), destination: address(W1), target: 8265, timeMs: 0 };
  const servicesAt = (): string[] => [];
  expect(explain(question, { ruleset, membership, servicesAt })).toMatchObject({
    isWithinNode: true,
    verdict: { allowed: true },
    needed: [],
  });
  await stop();
});

it('a foreign program that talks to the object manager of its own node stays one', async () => {
  const { membership, ruleset, stop } = await open({ cidr: ['10.0.0.0/24'] });
  const anomalies: Anomaly[] = [];
  const program: FoundProcess = {
    description: { process: { pid: 7, name: 'socat' }, user: { id: '65534' } },
    isRaylet: false,
  };
  const pipeline = new Pipeline({
    node: 'w1',
    policy: { ruleset, membership },
    maxFlows: 64,
    countOnOneInterface: true,
    createId: () => 'a',
    interfaceName: () => undefined,
    reportAnomaly: (anomaly) => anomalies.push(anomaly),
    reportFlow: () => {},
    reportEvidence: () => {},
    wantPackets: () => {},
    processes: { isLocal: () => true, find: () => Promise.resolve(program) },
  });
  sendHandshake(pipeline, { from: '127.0.0.1:5000', to: '127.0.0.1:43800', time: 1_800_000_000 });
  pipeline.tick(1_800_000_001_000);
  await Promise.resolve();
  await Promise.resolve();
  pipeline.end(1_800_000_002_000);
  expect([...new Set(anomalies.map(({ kind }) => kind))]).toEqual(['foreign-process']);
  await stop();
});

async function open(sources: GroupSources, localAddresses: readonly string[] = LOCAL) {
  const membership: Membership = createMembership(
    { groups: new Map([['cluster', sources]]), approvals: undefined },
    {
      clock: new FakeClock(),
      logger: silentLogger,
      fetch: () => Promise.reject(new Error('nobody')),
      resolve: (name) => Promise.resolve([name === 'w1.example' ? W1 : W2]),
      lookUpRecords: () =>
        Promise.resolve({ ipv4: [W1, W2].map((text) => ({ address: text, ttlSeconds: 60 })), ipv6: [] }),
      findRaylets: () => Promise.resolve([sampleRaylet({ nodeAddress: W1 })]),
      localAddresses: () => localAddresses,
      random: () => 0,
    },
  );
  await membership.start();
  const ruleset = new Ruleset({
    rules: [sampleRule()],
    services: new Map([
      ['object-manager', 'auto'],
      ['dashboard', 'auto'],
    ]),
    groups: new Map(),
  });

  const judge = (from: string, to: string, services: readonly string[]): Verdict =>
    ruleset.judge(
      { source: address(from), destination: address(to), services, timeMs: 1_790_000_000_000 },
      membership,
    );
  return { membership, ruleset, judge, stop: () => membership.stop() };
}

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
}
