/** A range of IPv6 never decides about an IPv4 address, wherever rules and settings take ranges. */
import { afterEach, describe, expect, it } from 'vitest';
import { compileMatchers, matchersSchema, type Subject } from '../../collector/incident/matchers.ts';
import { createMembership } from '../../agent/membership/from-rules.ts';
import type { Membership } from '../../agent/membership/membership.ts';
import { parseAddress } from '../../common/address.ts';
import { parseYaml } from '../../common/config-file.ts';
import { silentLogger } from '../../common/log.ts';
import { rulesSchema } from '../../rules/schema.ts';
import { FakeClock } from '../support/fake-clock.ts';

const IPV4 = ['0.0.0.0', '8.8.8.8', '10.0.0.1', '127.0.0.1', '255.255.255.255'];
const IPV6 = ['::1', 'fd77::1', '2001:db8::1', '::fffe:8.8.8.8', '64:ff9b::808:808'];

/** Ranges that hold `::ffff:0:0/96` when bits alone are compared. */
const ABOVE = ['::/0', '::/1', '::/8', '::/16', '::/32', '::/64', '::/79', '::/80', '::fffe:0:0/95'];
/** IPv4 in the dress of IPv6. */
const MAPPED: [string, string][] = [
  ['::ffff:0:0/96', '0.0.0.0/0'],
  ['::ffff:0.0.0.0/96', '0.0.0.0/0'],
  ['0:0:0:0:0:ffff:0:0/97', '0.0.0.0/1'],
  ['::ffff:10.0.0.0/104', '10.0.0.0/8'],
  ['::ffff:a00:0/104', '10.0.0.0/8'],
  ['::ffff:8.8.8.8/128', '8.8.8.8'],
  ['::ffff:8.8.8.8', '8.8.8.8'],
];

const memberships: Membership[] = [];
afterEach(async () => {
  for (const membership of memberships.splice(0)) await membership.stop();
});

const clock = new FakeClock();

function holds(membership: Membership, text: string): boolean {
  const address = parseAddress(text);
  return address !== undefined && membership.inGroup('g', address, clock.now());
}

/** The group `g` of the rules with these ranges. */
async function groupOf(cidr: readonly string[]): Promise<Membership> {
  const membership = createMembership(
    { groups: new Map([['g', { cidr: [...cidr] }]]), approvals: { cidr: [...cidr] } },
    {
      clock,
      logger: silentLogger,
      fetch,
      resolve: () => Promise.resolve([]),
      lookUpRecords: () => Promise.resolve({ addresses: [], ttlSeconds: 1 }) as never,
      findRaylets: () => Promise.resolve([]),
      localAddresses: () => [],
      random: () => 0,
    },
  );
  memberships.push(membership);
  await membership.start();
  return membership;
}

function incidentOf(peer: string): Subject {
  return {
    kind: 'unexpected-peer',
    breadth: 'story',
    severity: 'critical',
    peer,
    peerCount: 1,
    service: 'object-manager',
    serviceCount: 1,
    nodes: ['w1'],
    nodeCount: 1,
  };
}

describe('a range of IPv6', () => {
  it.each(ABOVE)('%s in a group of the rules holds no IPv4 address', async (range) => {
    const membership = await groupOf([range]);
    expect(IPV4.filter((text) => holds(membership, text))).toEqual([]);
  });

  it.each(ABOVE)('%s in a silence, a route or a mute time holds no IPv4 address', (range) => {
    const matches = compileMatchers(matchersSchema.parse({ peer: range }), {
      extent: 'any',
      labelsOf: () => ({}),
    });
    expect(IPV4.filter((peer) => matches(incidentOf(peer)))).toEqual([]);
  });

  it('holds the addresses of its own family', async () => {
    const membership = await groupOf(['::/0']);
    const matches = compileMatchers(matchersSchema.parse({ peer: '::/0' }), {
      extent: 'any',
      labelsOf: () => ({}),
    });
    expect(IPV6.filter((text) => holds(membership, text))).toEqual(IPV6);
    expect(IPV6.filter((peer) => matches(incidentOf(peer)))).toEqual(IPV6);
  });
});

describe('IPv4 written as IPv6', () => {
  it.each(MAPPED)('%s is refused in rules, approvals and hosts, with what to write: %s', (text, instead) => {
    for (const section of [
      'groups: { g: { cidr: [X] } }',
      'approved: { cidr: [X] }',
      ...(text.includes('/') ? [] : ['groups: { g: { hosts: [X] } }']),
    ]) {
      const yaml = `version: 1\n${section.replace('X', `"${text}"`)}\n`;
      const { value, diagnostics } = parseYaml(rulesSchema, yaml, 'rules.yaml');
      expect(value).toBeUndefined();
      expect(diagnostics.map(({ message }) => message).join()).toContain(
        `is IPv4 written as IPv6; write \`${instead}\``,
      );
    }
  });

  it.each(MAPPED)('%s is refused in silences, routes and mute times', (text, instead) => {
    const result = matchersSchema.safeParse({ peer: [text] });
    expect(result.success).toBe(false);
    expect(JSON.stringify(result.error?.issues)).toContain(`write \`${instead}\``);
  });
});
