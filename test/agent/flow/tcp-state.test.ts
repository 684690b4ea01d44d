import { describe, expect, it } from 'vitest';
import { factsOf, stateOf } from '../../../agent/flow/tcp-state.ts';

const FLAGS: Readonly<Record<string, number>> = {
  SYN: 0x02,
  'SYN-ACK': 0x12,
  ACK: 0x10,
  FIN: 0x11,
  RST: 0x04,
  'RST-ACK': 0x14,
  NOTHING: 0,
};

/** The facts of a list of segments. */
function sent(...segments: string[]): number {
  return segments.reduce((facts, segment) => facts | factsOf(FLAGS[segment] ?? Number.NaN, 0), 0);
}

describe('the state of a connection', () => {
  it.each([
    ['a SYN', sent('SYN'), sent(), 'attempt'],
    ['a SYN and a reset by its sender', sent('SYN', 'RST'), sent(), 'attempt'],
    ['a SYN answered by a reset', sent('SYN'), sent('RST-ACK'), 'refused'],
    ['a SYN answered by a SYN-ACK', sent('SYN'), sent('SYN-ACK'), 'attempt'],
    ['a whole handshake', sent('SYN', 'ACK'), sent('SYN-ACK'), 'established'],
    ['the initiator alone, going on after its SYN', sent('SYN', 'ACK'), sent(), 'established'],
    ['a SYN scan: answered, then reset', sent('SYN', 'RST'), sent('SYN-ACK'), 'attempt'],
    ['a reset by the responder after the handshake', sent('SYN', 'ACK'), sent('SYN-ACK', 'RST'), 'reset'],
    ['one FIN', sent('SYN', 'ACK', 'FIN'), sent('SYN-ACK', 'ACK'), 'half-closed'],
    ['both FINs', sent('SYN', 'ACK', 'FIN'), sent('SYN-ACK', 'FIN'), 'closed'],
    ['a reset after both FINs', sent('SYN', 'ACK', 'FIN', 'RST'), sent('SYN-ACK', 'FIN'), 'closed'],
    ['a reset after one FIN', sent('SYN', 'ACK', 'FIN'), sent('SYN-ACK', 'RST'), 'reset'],
    ['both sides opening at once', sent('SYN', 'SYN-ACK'), sent('SYN', 'SYN-ACK'), 'attempt'],
    [
      'both sides, having opened at once',
      sent('SYN', 'SYN-ACK', 'ACK'),
      sent('SYN', 'SYN-ACK'),
      'established',
    ],
    ['data without a handshake', sent('ACK'), sent('ACK'), 'midstream'],
    ['a SYN-ACK alone', sent(), sent('SYN-ACK'), 'midstream'],
    ['a segment without a flag', sent('NOTHING'), sent(), 'midstream'],
    ['a reset alone', sent('RST'), sent(), 'reset'],
    ['a FIN without a handshake', sent('FIN'), sent(), 'half-closed'],
  ])('of %s', (_name, initiator, responder, state) => {
    expect(stateOf(initiator, responder)).toBe(state);
  });
});
