import { describe, expect, it } from 'vitest';
import { parseTableLine } from '../../../agent/process/socket-table.ts';
import { formatAddress } from '../../../common/address.ts';
import { ANY, HEADING, OWN, PEER, TAIL } from '../../support/socket-table-text.ts';

describe('parseTableLine', () => {
  it.each([
    [
      'IPv4',
      `   0: 0100007F:1F90 0A02A8C0:0016 01 ${TAIL} 7`,
      ['127.0.0.1', 8080, '192.168.2.10', 22, 'established', 0, 7],
    ],
    [
      'mapped IPv4',
      `  10: ${OWN}:AB18 ${PEER}:C350 06 ${TAIL} 8`,
      ['10.77.0.11', 43_800, '10.77.0.12', 50_000, 'time-wait', 0, 8],
    ],
    [
      'IPv6',
      `   1: 000077FD000000000000000010000000:AB18 ${ANY}:0000 0A ${TAIL} 9`,
      ['fd77::10', 43_800, '::', 0, 'listen', 0, 9],
    ],
    [
      'a state that is new',
      `   0: 0100007F:0001 0100007F:0002 7F ${TAIL} 1`,
      ['127.0.0.1', 1, '127.0.0.1', 2, 'unknown', 0, 1],
    ],
  ])('reads %s', (_title, line, expected) => {
    const entry = parseTableLine(line);
    expect(
      entry && [
        formatAddress(entry.local),
        entry.localPort,
        formatAddress(entry.remote),
        entry.remotePort,
        entry.state,
        entry.userId,
        entry.inode,
      ],
    ).toEqual(expected);
  });

  it.each([
    ['the heading', HEADING],
    ['nothing', ''],
    ['half a line', `   0: ${OWN}:AB18 ${PEER}`],
  ])('leaves out %s', (_title, line) => {
    expect(parseTableLine(line)).toBeUndefined();
  });
});
