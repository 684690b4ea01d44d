import { describe, expect, it } from 'vitest';
import { kindOf, sentenceOf, type Judged } from '../../../agent/detect/wording.ts';
import type { FlowRecord } from '../../../common/event.ts';
import { describeFake, FakeFlow } from '../../support/fake-flow.ts';

const FLOW = new FakeFlow('10.0.0.1:50000', '10.0.0.2:43800', 0);
const RECORD: FlowRecord = describeFake(FLOW.flow, 'object-manager');

function judged(changes: Partial<Judged>, reason: Judged['verdict']['reason'] = 'former-member'): Judged {
  return { verdict: { allowed: false, rule: null, reason }, toMember: true, fromMember: false, ...changes };
}

const PORT = 'object-manager port 43800';

describe('an unexpected connection in words', () => {
  it.each([
    [
      'a member calls an address that has left',
      judged({ toMember: false, fromMember: true, fromFormer: false }),
      'unexpected-destination',
      `Member 10.0.0.1 connects to ${PORT} of former member 10.0.0.2 (it has left the cluster)`,
    ],
    [
      'the same, where nobody says which end has left',
      judged({ toMember: false, fromMember: true }),
      'unexpected-destination',
      `Member 10.0.0.1 connects to ${PORT} of former member 10.0.0.2 (it has left the cluster)`,
    ],
    [
      'one that has left calls a member',
      judged({ fromFormer: true }),
      'former-member',
      `Former member 10.0.0.1 talks to ${PORT} of 10.0.0.2 (it has left the cluster)`,
    ],
    [
      'one that has left calls another that has left',
      judged({ toMember: false, fromFormer: true }),
      'former-member',
      `Former member 10.0.0.1 talks to ${PORT} of 10.0.0.2 (it has left the cluster)`,
    ],
    [
      'one that never was a member calls an address that has left',
      judged({ toMember: false, fromFormer: false }),
      'unexpected-peer',
      `Unexpected peer 10.0.0.1 talks to ${PORT} of former member 10.0.0.2 (it has left the cluster)`,
    ],
    [
      'a member calls one that never was',
      judged({ toMember: false, fromMember: true }, 'no-rule'),
      'unexpected-destination',
      `Member 10.0.0.1 connects to ${PORT} of 10.0.0.2, which is no member (no rule allows it)`,
    ],
    [
      'one that never was a member calls one',
      judged({}, 'no-rule'),
      'unexpected-peer',
      `Unexpected peer 10.0.0.1 talks to ${PORT} of 10.0.0.2 (no rule allows it)`,
    ],
  ] as const)('where %s', (_who, how, kind, sentence) => {
    expect(kindOf(how)).toBe(kind);
    expect(sentenceOf(RECORD, 'object-manager', how, 'answered')).toBe(sentence);
  });

  it('says of an attempt to reach an address that has left how it ended', () => {
    const refused = { ...RECORD, plasmawatch: { ...RECORD.plasmawatch, state: 'refused' as const } };
    const how = judged({ toMember: false, fromMember: true, fromFormer: false });
    expect(sentenceOf(refused, 'object-manager', how, 'attempt')).toBe(
      `Member 10.0.0.1 tried to connect to ${PORT} of former member 10.0.0.2, refused (it has left the cluster)`,
    );
  });
});
