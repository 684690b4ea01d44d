import { describe, expect, it } from 'vitest';
import { digestOf, factsOf, headlineOf, writePlainly } from '../../../collector/notify/wording.ts';
import { sampleIncident, sampleNotification } from '../../support/collector-parts.ts';

const TITLE = 'Unexpected peer 10.77.9.66 talks to the object manager on w1';

describe('a message', () => {
  it.each([
    ['opened', `New: ${TITLE}`],
    ['escalated', `Worse: ${TITLE}`],
    ['updated', `More: ${TITLE}`],
    ['repeated', `Still open: ${TITLE}`],
    ['reopened', `Again: ${TITLE}`],
    ['resolved', `Resolved: ${TITLE}`],
  ] as const)('of what was %s begins with the word for it', (type, headline) => {
    expect(headlineOf(sampleNotification({ type }))).toBe(headline);
  });

  it('says how many messages were held back before it', () => {
    expect(factsOf(sampleNotification({ heldBack: 1 }))).toContainEqual(['Held back', '1 earlier message']);
    expect(writePlainly(sampleNotification({ heldBack: 7 })).body).toContain('Held back: 7 earlier messages');
    expect(writePlainly(sampleNotification()).body).not.toContain('Held back');
  });

  it('says how many peers and services there are besides the first', () => {
    const incident = sampleIncident({ peerCount: 500, serviceCount: 7 });
    expect(factsOf(sampleNotification({ incident }))).toEqual(
      expect.arrayContaining([
        ['Peers', '10.77.9.66 and 499 more'],
        ['Services', 'object-manager and 6 more'],
      ]),
    );
  });

  it('says who resolved it by hand', () => {
    const incident = sampleIncident({ state: 'resolved', resolvedBy: 'kim\n' });
    expect(factsOf(sampleNotification({ type: 'resolved', incident }))).toContainEqual([
      'Resolved by',
      'kim',
    ]);
  });
});

describe('a digest', () => {
  it('counts what happened, and has a line for each incident', () => {
    const types = ['opened', 'updated', 'repeated', 'resolved'] as const;
    expect(digestOf(types.map((type) => sampleNotification({ type })))).toMatchObject({
      headline: '4 messages about 1 incident',
      counts: '1 new, 1 more, 1 still open, 1 resolved',
      lines: [{ happened: 'New → More → Still open → Resolved' }],
    });
  });
});
