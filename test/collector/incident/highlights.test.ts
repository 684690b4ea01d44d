import { describe, expect, it } from 'vitest';
import { merged, messageOf, withMember, withoutMember } from '../../../collector/incident/highlights.ts';
import { COLLECTOR } from '../../../collector/incident/reporter.ts';
import type { Highlight, Member } from '../../../collector/store/store.ts';
import type { Anomaly } from '../../../common/event.ts';
import { contactOf } from '../../support/unknown-peer.ts';

function member(
  node: string,
  dataBytes: number,
  changes: Partial<Anomaly> = {},
  severity: Member['severity'] = 'critical',
): Member {
  const latest = { ...contactOf({ peer: '10.77.9.66', node, message: `seen by ${node}` }), ...changes };
  const rest = { incidentId: 'INC-1', baseCount: 0, baseBytes: 0 };
  return { agent: node, anomalyId: latest.id, latest, severity, dataBytes, ...rest };
}

function highlightsOf(...members: Member[]): Highlight[] {
  return members.reduce<Highlight[]>((highlights, each) => withMember(highlights, each), []);
}

function nodes(highlights: readonly Highlight[]): string[] {
  return highlights.map(({ node }) => node);
}

describe('the highlights of an incident', () => {
  it('are one of each node, by severity and then by bytes', () => {
    const all = highlightsOf(
      member('w1', 5),
      member('w2', 7),
      member('w3', 900, {}, 'warning'),
      member('w1', 3, { id: 'other' }),
    );
    expect(nodes(all)).toEqual(['w2', 'w1', 'w3']);
    expect(all[1]?.dataBytes).toBe(5);
    expect(nodes(withMember(all, member('w1', 8)))).toEqual(['w1', 'w2', 'w3']);
  });

  it('are those of ten nodes at most, and a node that reports more has no more of them', () => {
    const many = Array.from({ length: 30 }, (_, index) => member(`n${index}`, index));
    const evil = Array.from({ length: 30 }, (_, index) => member('evil', 1000 + index, { id: `e${index}` }));
    expect(nodes(highlightsOf(...many, ...evil))).toEqual([
      'evil',
      ...many
        .slice(21)
        .map(({ agent }) => agent)
        .toReversed(),
    ]);
  });

  it.each([
    ['ipv6', '::ffff:10.77.9.66', '::ffff:10.77.9.66'],
    ['ipv4', '::ffff:10.77.9.66', '10.77.9.66'],
    ['ipv6', 'FD00:0::0066', 'fd00::66'],
  ] as const)('have the address of the node in %s packets: %s', (type, ip, ownAddress) => {
    const { flow } = contactOf({ peer: '10.77.9.1', node: 'w1' });
    if (flow === null) throw new Error('a contact has a flow');
    const ofType = {
      ...flow,
      destination: { ...flow.destination, ip },
      network: { ...flow.network, type },
    };
    const [highlight] = highlightsOf(member('w1', 1, { flow: ofType, localEnd: 'destination' }));
    expect(highlight?.ownAddress).toBe(ownAddress);
  });

  it('name the next member of a node where one leaves', () => {
    const [first, second] = [member('w1', 9), member('w1', 4, { id: 'next' })];
    const all = highlightsOf(first, member('w2', 5));
    expect(withoutMember(all, first, second)).toMatchObject([
      { node: 'w2' },
      { node: 'w1', anomalyId: 'next' },
    ]);
    expect(nodes(withoutMember(all, first, undefined))).toEqual(['w2']);
    expect(withoutMember(all, member('w1', 1, { id: 'unknown' }), second)).toEqual(all);
  });

  it('of two incidents are the most severe of each node', () => {
    const both = merged(
      highlightsOf(member('w1', 5), member('w2', 5)),
      highlightsOf(member('w1', 9), member('w3', 7)),
    );
    expect(both.map(({ node, dataBytes }) => [node, dataBytes])).toEqual([
      ['w1', 9],
      ['w3', 7],
      ['w2', 5],
    ]);
  });
});

describe('the message of an incident', () => {
  it('quotes three agents, each with its name', () => {
    const highlights = highlightsOf(...[4, 3, 2, 1].map((bytes, index) => member(`w${index + 1}`, bytes)));
    expect(messageOf({ highlights })).toBe(
      'w1 reports: "seen by w1"; w2 reports: "seen by w2"; w3 reports: "seen by w3"',
    );
  });

  it('is on one line, cut, and no quotation ends itself', () => {
    const message = `a"\nb; w2 reports: "${'x'.repeat(1000)}`;
    const text = messageOf({ highlights: highlightsOf(member('w1', 1, { message })) });
    expect(text).toMatch(/^w1 reports: "a' b; w2 reports: 'x+"$/);
    expect(text.length).toBeLessThan(450);
  });

  it('is composed of fields for a sum of attempts, and of those only that are what they should be', () => {
    const attempts = {
      sources: [
        { prefix: '10.77.9.0/24', count: 512 },
        { prefix: 'Authorised scan', count: 3 },
      ],
      ports: [{ port: 43_800, count: 515 }],
    };
    const sum = member('w1', 0, {
      kind: 'connection-attempts',
      flow: null,
      attempts,
      message: 'all is well',
    });
    expect(messageOf({ highlights: highlightsOf(sum) })).toBe(
      'w1 reports connection attempts from 10.77.9.0/24 (512) to port 43800 (515)',
    );
  });

  it("is the collector's own where it reports itself", () => {
    const own = { ...member('w1', 0, { message: 'The agent on w1 is silent' }), agent: COLLECTOR };
    expect(messageOf({ highlights: highlightsOf(own) })).toBe('The agent on w1 is silent');
  });
});
