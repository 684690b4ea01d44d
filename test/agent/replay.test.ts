import { describe, expect, it, vi } from 'vitest';
import { flowRecord } from '../../agent/flow/record.ts';
import { Membership } from '../../agent/membership/membership.ts';
import { Replay } from '../../agent/replay.ts';
import type { Anomaly } from '../../common/event.ts';
import { Ruleset } from '../../rules/match.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { FakeProvider, membersView } from '../support/fake-provider.ts';
import { sampleRule } from '../support/sample-rule.ts';
import { sendConnection } from '../support/tcp-traffic.ts';

vi.mock(import('../../agent/flow/record.ts'), async (importOriginal) => {
  const original = await importOriginal();
  return { ...original, flowRecord: vi.fn<typeof original.flowRecord>(original.flowRecord) };
});

const START = Date.UTC(2026, 10, 23, 12) / 1000;

describe('Replay', () => {
  it('makes no record of a connection that is allowed: nobody reads it', async () => {
    const membership = new Membership({
      providers: new Map([['cluster', [new FakeProvider(membersView('10.0.0.1', '10.0.0.2'))]]]),
      clock: new FakeClock(START * 1000),
    });
    await membership.start();
    const anomalies: Anomaly[] = [];
    const replay = new Replay({
      node: 'w1',
      policy: {
        ruleset: new Ruleset({
          rules: [sampleRule()],
          services: new Map([['object-manager', [{ first: 43_800, last: 43_800 }]]]),
          groups: new Map(),
        }),
        membership,
      },
      maxFlows: 1024,
      onAnomaly: (anomaly) => anomalies.push(anomaly),
    });
    for (let port = 1000; port < 1100; port++) {
      sendConnection(replay, { from: `10.0.0.2:${port}`, to: '10.0.0.1:43800', time: START });
    }
    expect(replay.end()).toMatchObject({ flows: 100, allowed: 100, unexpected: 0 });
    expect(anomalies).toEqual([]);
    expect(flowRecord).not.toHaveBeenCalled();
  });
});
