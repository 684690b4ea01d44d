import { describe, expect, it } from 'vitest';
import { reportNewMembers } from '../../../agent/detect/new-members.ts';
import { storyOf } from '../../../collector/incident/story.ts';
import { titleOf } from '../../../collector/incident/title.ts';
import { anomalySchema, type Anomaly } from '../../../common/event.ts';
import { membersView } from '../../support/fake-provider.ts';

const NOW_MS = Date.UTC(2026, 10, 23, 12);

const APPROVED = { isUnapproved: () => false };

function reportsOn(node: string, addresses: readonly string[], membership = APPROVED): Anomaly[] {
  const reports: Anomaly[] = [];
  let ids = 0;
  const reporting = {
    node,
    createId: () => `${node}-${++ids}`,
    report: (anomaly: Anomaly) => reports.push(anomaly),
  };
  reportNewMembers(membersView(...addresses).members, membership, reporting, NOW_MS);
  return reports;
}

describe('reportNewMembers', () => {
  it('tells of each member by itself, with its address and who said so', () => {
    const reports = reportsOn('w1', ['10.0.0.3', '10.0.0.4']);
    expect(reports).toMatchObject([
      {
        kind: 'new-member',
        severity: 'info',
        peer: '10.0.0.3',
        id: 'w1-1',
        first: '2026-11-23T12:00:00.000000000Z',
      },
      { kind: 'new-member', peer: '10.0.0.4', message: 'New member 10.0.0.4 at 10.0.0.4, told by fake' },
    ]);
    for (const report of reports) expect(anomalySchema.safeParse(report).success).toBe(true);
  });

  it('says that no rule approves of it', () => {
    const [report] = reportsOn('w1', ['10.0.0.3'], { isUnapproved: () => true });
    expect(report?.message).toBe('New member 10.0.0.3 at 10.0.0.3, told by fake; no rule approves of it');
  });

  it('names each of thousands, several in a report', () => {
    const addresses = Array.from({ length: 2000 }, (_, index) => `10.1.${index >> 8}.${index & 255}`);
    const reports = reportsOn('w1', addresses);
    expect(reports.length).toBeLessThan(200);
    const text = reports.map(({ message }) => ` ${message} `.replaceAll(',', ' ')).join('');
    expect(addresses.filter((address) => !text.includes(` ${address} `))).toEqual([]);
    for (const report of reports) expect(anomalySchema.safeParse(report).success).toBe(true);
  });

  it('is one story on all nodes that see the same member', () => {
    const stories = ['w1', 'w2'].flatMap((node) => reportsOn(node, ['10.0.0.3'])).map(storyOf);
    expect(new Set(stories.map(({ fingerprint }) => fingerprint)).size).toBe(1);
    const [story] = stories;
    if (story === undefined) throw new Error('no story');
    const seen = {
      breadth: 'story',
      peerCount: 1,
      nodes: ['w1', 'w2'],
      nodeCount: 2,
      highlights: [],
    } as const;
    expect(titleOf({ ...story, kind: 'new-member', ...seen })).toBe(
      'New member 10.0.0.3 seen by w1 and 1 more node',
    );
  });
});
