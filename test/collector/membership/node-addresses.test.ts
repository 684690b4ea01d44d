/** Which incidents keep an address from counting as a further one of a node. */
import { describe, expect, it } from 'vitest';
import { titleOf } from '../../../collector/incident/title.ts';
import type { Anomaly } from '../../../common/event.ts';
import { openParts, TEST_EPOCH } from '../../support/collector-parts.ts';
import { sampleAnomaly } from '../../support/sample-report.ts';

const PEER = '10.77.9.66';

async function recorded(changes: Partial<Anomaly>) {
  const parts = await openParts();
  parts.recorder.record('w1', TEST_EPOCH, [{ sequence: 1, report: { ...sampleAnomaly(1), ...changes } }]);
  return parts;
}

function attempt(): Partial<Anomaly> {
  const { flow } = sampleAnomaly(1);
  if (flow === null) throw new Error('the sample has a flow');
  const nothing = { source: 0, destination: 0 };
  const plasmawatch = { ...flow.plasmawatch, state: 'attempt' as const, payload: nothing, stream: nothing };
  return { severity: 'warning', bytes: 120, flow: { ...flow, plasmawatch } };
}

describe('an address is accused', () => {
  it('by the incident of an unknown peer, until that is resolved', async () => {
    const { store, recorder } = await recorded({});
    expect([store.hasUnresolvedPeer(PEER), store.hasUnresolvedPeer('10.77.9.67')]).toEqual([true, false]);
    const [incident] = store.incidents({ limit: 1 }).incidents;
    recorder.resolve(incident?.id ?? '', 'anna');
    expect(store.hasUnresolvedPeer(PEER)).toBe(false);
  });

  it.each<[string, Partial<Anomaly>]>([
    ['a new member', { kind: 'new-member', severity: 'info', flow: null, verdict: null, peer: PEER }],
    [
      'an address that has moved',
      { kind: 'address-conflict', severity: 'info', flow: null, verdict: null, peer: PEER },
    ],
    ['an attempt, which anybody can send in its name', attempt()],
  ])('by no incident of %s', async (_, changes) => {
    const { store } = await recorded(changes);
    expect(store.incidents({ limit: 1 }).incidents[0]?.peer).toBe(PEER);
    expect(store.hasUnresolvedPeer(PEER)).toBe(false);
  });
});

it('an address with several hardware addresses is one incident, whoever sees it', async () => {
  const conflict = { kind: 'address-conflict', flow: null, verdict: null, peer: PEER } as const;
  const { store, recorder } = await recorded({ ...conflict, severity: 'info' });
  recorder.record('w2', TEST_EPOCH, [
    { sequence: 1, report: { ...sampleAnomaly(1), ...conflict, node: 'w2', severity: 'critical' } },
  ]);
  const { incidents } = store.incidents({ limit: 10 });
  expect(incidents).toHaveLength(1);
  expect(incidents[0]?.severity).toBe('critical');
  expect(incidents[0] && titleOf(incidents[0])).toBe(
    `Address ${PEER} has several hardware addresses on the network of w1 and 1 more node`,
  );
});
