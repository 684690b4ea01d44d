import { describe, expect, it } from 'vitest';
import { assess, dataTier } from '../../../collector/incident/assessment.ts';
import type { Anomaly } from '../../../common/event.ts';
import { attemptOf, contactOf } from '../../support/unknown-peer.ts';

const PEER = '10.77.9.66';

function attempt(changes: Parameters<typeof attemptOf>[0] | object = {}): Anomaly {
  return attemptOf({ peer: PEER, severity: 'critical', ...changes });
}

function contact(changes: object = {}): Anomaly {
  return contactOf({ peer: PEER, ...changes });
}

describe('the severity of an anomaly', () => {
  it.each([
    ['an attempt that an agent calls critical', attempt(), 'warning'],
    ['a refused one', attempt({ state: 'refused' }), 'warning'],
    ['a refused one of a foreign process', attempt({ state: 'refused', kind: 'foreign-process' }), 'warning'],
    ['a sum of attempts', { ...attempt(), flow: null, kind: 'connection-attempts' as const }, 'warning'],
    ['an attempt that is information', attempt({ severity: 'info' }), 'info'],
    ['an answered connection', contact({ severity: 'critical' }), 'critical'],
    ['an answered connection that is information', contact({ severity: 'info' }), 'info'],
    ['one that moved 99,999 bytes', contact({ severity: 'info', bytes: 99_999 }), 'info'],
    ['one that moved 100 kB', contact({ severity: 'info', bytes: 100_000 }), 'critical'],
    [
      'a member that pushed 100 kB out',
      contact({ kind: 'unexpected-destination', severity: 'info', bytes: 100_000 }),
      'critical',
    ],
    [
      'a former member with 999 kB',
      contact({ kind: 'former-member', severity: 'warning', bytes: 999_000 }),
      'warning',
    ],
    [
      'a former member with 1 MB',
      contact({ kind: 'former-member', severity: 'warning', bytes: 1_000_000 }),
      'critical',
    ],
    [
      'packets without a handshake',
      contact({ state: 'midstream', severity: 'info', bytes: 1e9 }),
      'critical',
    ],
  ])('of %s is what happened', (_what, anomaly, severity) => {
    expect(assess(anomaly).severity).toBe(severity);
  });
});

describe('an activity whose first connection was not answered', () => {
  it.each<[what: string, anomaly: Anomaly, isAttempt: boolean]>([
    ['and nothing else', attempt(), true],
    ['and a thousand more like it', attempt({ count: 1000, bytes: 74_000 }), true],
    ['with all repeats of its SYN in a tunnel', attempt({ count: 10, bytes: 74 + 9 * 7 * 124 }), true],
    ['and whose second one was', attempt({ count: 2, bytes: 4200 }), false],
    ['and of which one of a thousand moved 1 GB', attempt({ count: 1000, bytes: 1e9 }), false],
    ['by a count that is less than what its bytes need', attempt({ count: 0, bytes: 4200 }), false],
  ])('%s is an attempt as far as its numbers agree', (_what, anomaly, isAttempt) => {
    expect(assess(anomaly).isAttempt).toBe(isAttempt);
  });

  it('may be answered in a tunnel that ends nowhere, by whoever forged it', () => {
    const { flow, ...rest } = contact({ severity: 'warning', bytes: 1e9 });
    if (flow === null) throw new Error('the sample has a flow');
    const tunnel = { type: 'vxlan', source: '10.0.0.1', destination: '10.0.0.2' } as const;
    const forged = { ...rest, flow: { ...flow, plasmawatch: { ...flow.plasmawatch, tunnel } } };
    expect(assess(forged)).toMatchObject({ isAttempt: true, severity: 'warning' });
    expect(assess({ ...forged, severity: 'critical' })).toMatchObject({
      isAttempt: false,
      severity: 'critical',
    });
    expect(assess({ ...forged, kind: 'former-member' })).toMatchObject({
      isAttempt: false,
      severity: 'warning',
    });
  });

  it('is none where the responder sent something', () => {
    const { flow, ...rest } = attempt();
    if (flow === null) throw new Error('the sample has a flow');
    const answered = { ...flow.plasmawatch, stream: { source: 0, destination: 1 } };
    expect(assess({ ...rest, flow: { ...flow, plasmawatch: answered } }).isAttempt).toBe(false);
  });
});

describe('the tier of an amount of data', () => {
  it.each([
    [0, 0],
    [99_999, 0],
    [100_000, 1],
    [999_999, 1],
    [1_000_000, 2],
    [1e9, 5],
    [1e12, 8],
    [Number.MAX_SAFE_INTEGER, 8],
  ])('of %i bytes is %i', (bytes, tier) => {
    expect(dataTier(bytes)).toBe(tier);
  });
});
