import { describe, expect, it } from 'vitest';
import { agentMessageSchema, collectorMessageSchema, parseMessage } from '../../common/protocol.ts';
import { sampleAnomaly } from '../support/sample-report.ts';

const hello = {
  type: 'hello',
  protocol: 1,
  agent: 'w1',
  epoch: '6f1c2a52-5df2-4c0e-9d8e-2a4f1a7f0001',
  version: '0.1.0',
  capture: 'ring',
};

describe('parseMessage', () => {
  it('answers with the message where it is one', () => {
    expect(parseMessage(agentMessageSchema, JSON.stringify(hello))).toEqual({ ok: true, message: hello });
    const ack = { type: 'ack', sequence: 7 };
    expect(parseMessage(collectorMessageSchema, JSON.stringify(ack))).toEqual({ ok: true, message: ack });
  });

  it.each([
    ['no JSON', 'not JSON', 'not JSON'],
    ['an unknown field', { ...hello, secret: 'hush' }, 'message: an unknown field'],
    [
      'a field of the wrong type',
      { ...hello, protocol: 'one' },
      'protocol: Invalid input: expected number, received string',
    ],
    [
      'a name that would not be safe in a path',
      { ...hello, agent: '../w1' },
      'agent: letters, digits and ._:- only, at most 128',
    ],
    [
      'a counter with a name of the peer',
      { type: 'heartbeat', counters: { Secret: 1 } },
      'counters: Invalid key in record',
    ],
    [
      'an empty batch',
      { type: 'reports', reports: [] },
      'reports: Too small: expected array to have >=1 items',
    ],
    [
      'an anomaly with an unknown field',
      { type: 'reports', reports: [{ sequence: 1, report: { ...sampleAnomaly(1), hush: 1 } }] },
      'reports.0.report: an unknown field',
    ],
  ])('refuses %s, in one line without the peer’s words', (_name, message, problem) => {
    const text = typeof message === 'string' ? message : JSON.stringify(message);
    expect(parseMessage(agentMessageSchema, text)).toEqual({ ok: false, problem });
  });
});
