/** Each statement of docs/rules.md about translated and shared addresses, shown with packets. */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ProcessFinder } from '../../agent/detect/attribution.ts';
import { createMembership } from '../../agent/membership/from-rules.ts';
import { Pipeline } from '../../agent/pipeline.ts';
import { formatAddress } from '../../common/address.ts';
import type { AnomalyKind } from '../../common/event.ts';
import { silentLogger } from '../../common/log.ts';
import { packagePath } from '../../common/package.ts';
import { Ruleset } from '../../rules/match.ts';
import type { GroupSources } from '../../rules/schema.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { sampleRaylet } from '../support/sample-raylet.ts';
import { sampleRule } from '../support/sample-rule.ts';
import { sendConnection } from '../support/tcp-traffic.ts';

const page = readFileSync(packagePath('docs/rules.md'), 'utf8').replaceAll(/\s+/g, ' ');
const START = 1_800_000_000;

const W1 = '10.0.0.1';
const W2 = '10.0.0.2';
const HEAD = '10.0.0.10';
const SERVICE = '10.96.0.7';
const CONTAINER = '172.30.7.2';
const TRANSLATED = '198.51.100.7';

interface Sight {
  /** Of the group `cluster`. */
  readonly cluster?: GroupSources;
  /** The addresses of the node that looks; none for what another node's recording shows. */
  readonly own?: readonly string[];
  readonly gcsAddress?: string;
  readonly names?: Readonly<Record<string, readonly string[]>>;
  readonly program?: string;
  readonly from: string;
  readonly to: string;
}

const LISTED: GroupSources = { hosts: [W1, W2, HEAD] };

const STATEMENTS: readonly (readonly [statement: string, sight: Sight, kinds: readonly AnomalyKind[]])[] = [
  [
    'The address of a service (ClusterIP) is that of a member where the head is named by it.',
    {
      cluster: { ray: 'auto' },
      own: ['127.0.0.1', W1],
      gcsAddress: 'raycluster-head-svc.ray.svc.cluster.local:6379',
      names: { 'raycluster-head-svc.ray.svc.cluster.local': [SERVICE] },
      from: `${W1}:5000`,
      to: `${SERVICE}:6379`,
    },
    [],
  ],
  [
    'Of any other address of a service, the connection of a member to it is an unexpected destination until the address is in `cluster`.',
    { from: `${W1}:5000`, to: `${SERVICE}:43800` },
    ['unexpected-destination'],
  ],
  [
    'A host or container behind a node that masquerades is that node for all others.',
    { own: ['127.0.0.1', W2], from: `${W1}:5000`, to: `${W2}:43800` },
    [],
  ],
  [
    'The agent on the node that masquerades sees it before, by its own address, and reports it.',
    { own: ['127.0.0.1', W1], from: `${CONTAINER}:5000`, to: `${W2}:43800` },
    ['unexpected-peer'],
  ],
  [
    'A node behind NAT is an unknown peer until the address after the translation is listed as one of its addresses.',
    { from: `${TRANSLATED}:5000`, to: `${W2}:43800` },
    ['unexpected-peer'],
  ],
  [
    'A node behind NAT is an unknown peer until the address after the translation is listed as one of its addresses.',
    {
      cluster: { file: fileOf(`- { id: w1, addresses: [${W1}, ${TRANSLATED}] }\n- ${W2}\n`) },
      from: `${TRANSLATED}:5000`,
      to: `${W2}:43800`,
    },
    [],
  ],
  [
    'A pod with `hostNetwork` is its host: whatever runs there is a member by address.',
    { own: ['127.0.0.1', W2], from: `${W1}:5000`, to: `${W2}:43800` },
    [],
  ],
  [
    'The agent on that host tells its programs apart, and reports one that is no raylet.',
    { own: ['127.0.0.1', W1], program: 'miner', from: `${W1}:5000`, to: `${W2}:43800` },
    ['foreign-process'],
  ],
  [
    'What comes through `kubectl port-forward` or an SSH tunnel that ends on a node is the node itself.',
    { own: ['127.0.0.1', W1], from: '127.0.0.1:5000', to: '127.0.0.1:8265' },
    [],
  ],
];

describe('docs/rules.md says of addresses:', () => {
  it.each(STATEMENTS)('%s (%#)', async (statement, sight, kinds) => {
    expect(page).toContain(statement);
    expect(await kindsOf(sight)).toEqual(kinds);
  });

  it('nothing that is not shown here', () => {
    const [, section = ''] = page.split('### Services, NAT and shared addresses');
    const [list = ''] = section.split(' ## ');
    const statements = list
      .split(' - ')
      .slice(1)
      .map((text) => text.trim());
    expect(statements).toEqual([...new Set(STATEMENTS.map(([statement]) => statement))]);
  });
});

/** What an agent reports of one connection. */
async function kindsOf({ cluster = LISTED, own = [], gcsAddress, names = {}, program, from, to }: Sight) {
  const kinds = new Set<AnomalyKind>();
  const membership = createMembership(
    { groups: new Map([['cluster', cluster]]), approvals: undefined },
    {
      clock: new FakeClock(START * 1000),
      logger: silentLogger,
      fetch: () => Promise.reject(new Error('nobody')),
      resolve: (name) => Promise.resolve(names[name] ?? []),
      lookUpRecords: () => Promise.resolve({ ipv4: [], ipv6: [] }),
      findRaylets: () =>
        Promise.resolve(gcsAddress === undefined ? [] : [sampleRaylet({ nodeAddress: W1, gcsAddress })]),
      localAddresses: () => own,
      random: () => 0,
    },
  );
  await membership.start();
  const processes: ProcessFinder = {
    isLocal: (address) => formatAddress(address) === W1,
    find: () =>
      Promise.resolve({ description: { process: { pid: 7, name: program ?? 'raylet' } }, isRaylet: false }),
  };
  const pipeline = new Pipeline({
    node: 'w1',
    policy: {
      ruleset: new Ruleset({
        rules: [sampleRule({ to: ['object-manager', 'gcs'] })],
        services: new Map([
          ['object-manager', 'auto'],
          ['gcs', 'auto'],
          ['dashboard', 'auto'],
        ]),
        groups: new Map(),
      }),
      membership,
    },
    maxFlows: 64,
    countOnOneInterface: true,
    createId: () => 'a',
    interfaceName: () => undefined,
    reportAnomaly: ({ kind }) => kinds.add(kind),
    reportFlow: () => {},
    reportEvidence: () => {},
    wantPackets: () => {},
    ...(program === undefined ? {} : { processes }),
  });
  sendConnection(pipeline, { from, to, time: START, payloadLength: 1000 });
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
  pipeline.end(START * 1000);
  await membership.stop();
  return [...kinds];
}

function fileOf(text: string): string {
  const path = join(mkdtempSync(join(tmpdir(), 'plasmawatch-addresses-')), 'members.yaml');
  writeFileSync(path, text);
  return path;
}
