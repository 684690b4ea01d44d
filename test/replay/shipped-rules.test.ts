import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { formatAddress, parseAddress } from '../../common/address.ts';
import { systemClock } from '../../common/clock.ts';
import type { Anomaly } from '../../common/event.ts';
import { packagePath } from '../../common/package.ts';
import { loadRules } from '../../rules/load.ts';
import type { MembershipView, Ruleset } from '../../rules/match.ts';
import { RecordedCluster } from '../support/recorded-cluster.ts';

const NOTEBOOK = '10.77.0.50';
const STRANGER = '10.77.9.66';
const HEAD = '10.77.0.10';

/** A shipped rule file, with this address where an operator writes that of the people who are let in. */
function shipped(name: string, address = '203.0.113.1'): string {
  const text = readFileSync(packagePath(`rules/${name}.yaml`), 'utf8');
  return text.replaceAll('192.0.2.0/24', `${address}/32`);
}

function told(anomalies: readonly Anomaly[]): string[] {
  return anomalies
    .map(({ kind, peer, flow, verdict }) =>
      flow === null
        ? `${kind} ${peer}`
        : `${kind} ${flow.source.ip} > ${flow.destination.ip} ${flow.plasmawatch.service}, ${verdict?.reason}`,
    )
    .toSorted();
}

describe('rules/ray-cluster.yaml', () => {
  const RULES = shipped('ray-cluster');

  it.each([
    ['normal-any', 'head-any-all-ports'],
    ['random-ports', 'w1-all-ports'],
    ['node-death', 'head-all-ports'],
    ['join-leave', 'head'],
  ])('lets all that the nodes of %s do at all ports (%s)', async (scenario, recording) => {
    const anomalies = told(await new RecordedCluster(scenario).watch(recording, RULES));
    expect(anomalies.filter((story) => !story.startsWith('new-member'))).toEqual([]);
  });

  it('tells of all that a stranger who joins does, where its lines about approval are made to count', async () => {
    const approved = RULES.replace(/^# (members: approved)$/m, '$1').replace(/^# (approved: .*)$/m, '$1');
    const cluster = new RecordedCluster('intruder-join');
    expect(told(await cluster.watch('intruder-all-ports', approved, 'head'))).toEqual([
      `new-member ${STRANGER}`,
      `unexpected-destination ${HEAD} > ${STRANGER} node-manager, not-approved`,
      `unexpected-destination ${HEAD} > ${STRANGER} worker, not-approved`,
      `unexpected-destination 10.77.0.11 > ${STRANGER} node-manager, not-approved`,
      `unexpected-destination 10.77.0.11 > ${STRANGER} object-manager, not-approved`,
      `unexpected-destination 10.77.0.12 > ${STRANGER} node-manager, not-approved`,
      `unexpected-destination 10.77.0.12 > ${STRANGER} object-manager, not-approved`,
      `unexpected-destination 10.77.0.12 > ${STRANGER} worker, not-approved`,
      `unexpected-peer ${STRANGER} > ${HEAD} gcs, no-rule`,
      `unexpected-peer ${STRANGER} > ${HEAD} gcs, not-approved`,
      `unexpected-peer ${STRANGER} > ${HEAD} worker, not-approved`,
      `unexpected-peer ${STRANGER} > 10.77.0.11 node-manager, not-approved`,
      `unexpected-peer ${STRANGER} > 10.77.0.11 object-manager, not-approved`,
      `unexpected-peer ${STRANGER} > 10.77.0.11 worker, not-approved`,
      `unexpected-peer ${STRANGER} > 10.77.0.12 node-manager, not-approved`,
      `unexpected-peer ${STRANGER} > 10.77.0.12 object-manager, not-approved`,
    ]);
  });

  it('tells of a notebook that comes through Ray Client, until a rule lets it', async () => {
    expect(told(await new RecordedCluster('rayclient').watch('head', RULES))).toEqual([
      `unexpected-peer ${NOTEBOOK} > ${HEAD} client-server, no-rule`,
    ]);
  });

  it('tells of a stranger at the door of the GCS before Ray has let him in', async () => {
    const cluster = new RecordedCluster('intruder-join');
    expect(told(await cluster.watch('intruder-all-ports', RULES, 'head'))).toEqual([
      `new-member ${STRANGER}`,
      `unexpected-peer ${STRANGER} > ${HEAD} gcs, no-rule`,
    ]);
  });
});

describe('rules/ray-client.yaml', () => {
  it('lets a notebook work through Ray Client', async () => {
    const rules = shipped('ray-client', NOTEBOOK);
    expect(told(await new RecordedCluster('rayclient').watch('head', rules))).toEqual([]);
  });

  it('tells of a notebook that is in no group', async () => {
    expect(told(await new RecordedCluster('rayclient').watch('head', shipped('ray-client')))).toEqual([
      `unexpected-peer ${NOTEBOOK} > ${HEAD} client-server, no-rule`,
    ]);
  });

  it('tells of one that leaves its lane for the object manager', async () => {
    const rules = shipped('ray-client', STRANGER);
    expect(told(await new RecordedCluster('intruder-grpc').watch('w1', rules))).toEqual([
      `unexpected-peer ${STRANGER} > 10.77.0.11 object-manager, wrong-service`,
    ]);
  });
});

describe('rules/shadowray.yaml', () => {
  it.each([
    ['normal', 'w1'],
    ['normal-any', 'head-any-all-ports'],
  ])('says nothing of what the nodes of %s do', async (scenario, recording) => {
    expect(await new RecordedCluster(scenario).watch(recording, shipped('shadowray'))).toEqual([]);
  });

  it('tells of a driver from outside', async () => {
    expect(told(await new RecordedCluster('rayclient').watch('head', shipped('shadowray')))).toEqual([
      `unexpected-peer ${NOTEBOOK} > ${HEAD} client-server, no-rule`,
    ]);
  });
});

/** Who is in which group of the shipped files. */
const PEOPLE: Readonly<Record<string, string>> = {
  '10.77.0.10': 'cluster',
  '192.0.2.7': 'operators notebooks',
  '198.51.100.7': 'monitoring',
};
const membership: MembershipView = {
  inGroup: (group, address) => (PEOPLE[formatAddress(address)] ?? '').split(' ').includes(group),
  isFormerMember: () => false,
  isUnapproved: () => false,
};

it.each([
  ['ray-cluster', 'a node', '10.77.0.10', 'gcs node-manager object-manager worker dashboard dashboard-agent'],
  ['ray-cluster', 'an operator', '192.0.2.7', 'dashboard'],
  ['ray-cluster', 'the monitoring', '198.51.100.7', 'metrics-export'],
  ['ray-cluster', 'a stranger', STRANGER, 'nothing'],
  ['shadowray', 'a node', '10.77.0.10', 'object-manager dashboard dashboard-agent'],
  ['shadowray', 'an operator', '192.0.2.7', 'dashboard'],
  ['shadowray', 'a stranger', STRANGER, 'nothing'],
  ['ray-client', 'a node', '10.77.0.10', 'object-manager node-manager gcs worker client-server'],
  ['ray-client', 'a notebook', '192.0.2.7', 'client-server'],
  ['ray-client', 'a stranger', STRANGER, 'nothing'],
])('rules/%s.yaml lets %s (%s) reach %s', async (file, _who, address, allowed) => {
  const { ruleset } = await loadRules(packagePath(`rules/${file}.yaml`), { clock: systemClock });
  const services = [...(ruleset?.services.keys() ?? [])].filter((service) => RAY_SERVICES.has(service));
  const reached = services.filter((service) => isAllowed(ruleset, address, service));
  expect(reached.toSorted().join(' ') || 'nothing').toBe(allowed.split(' ').toSorted().join(' '));
});

/** The services that a person might reach; what only raylets use is left out. */
const RAY_SERVICES = new Set([
  'gcs',
  'node-manager',
  'object-manager',
  'worker',
  'dashboard',
  'dashboard-agent',
  'client-server',
  'metrics-export',
  'serve',
]);

function isAllowed(ruleset: Ruleset | undefined, from: string, service: string): boolean {
  const [source, destination] = [from, HEAD].map(parseAddress);
  if (ruleset === undefined || source === undefined || destination === undefined) return false;
  const connection = { source, destination, services: [service], timeMs: Date.UTC(2026, 10, 23) };
  return ruleset.judge(connection, membership).allowed;
}
