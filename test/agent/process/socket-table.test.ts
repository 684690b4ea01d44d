import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { listeningUsers, parseTableLine } from '../../../agent/process/socket-table.ts';
import { formatAddress, parseAddress } from '../../../common/address.ts';
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

describe('listeningUsers', () => {
  const line = (local: string, state: string, user: number) =>
    `   0: ${local}:2049 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000 ${user} 0 7\n`;
  const LOOPBACK = '0100007F';
  const OTHER_LOOPBACK = '0900007F';
  const ANY_IPV4 = '00000000';

  it.each([
    ['nobody', [], []],
    ['who is at the address', [line(LOOPBACK, '0A', 1), line(OTHER_LOOPBACK, '0A', 2)], [1]],
    ['who is at all addresses', [line(ANY_IPV4, '0A', 3), line(OTHER_LOOPBACK, '0A', 2)], [3]],
    ['who is at the address before who is at all', [line(ANY_IPV4, '0A', 3), line(LOOPBACK, '0A', 1)], [1]],
    ['both of whom one may be asked', [line(LOOPBACK, '0A', 4), line(LOOPBACK, '0A', 1)], [1, 4]],
    ['no end of a connection', [line(LOOPBACK, '01', 1)], []],
  ])('names %s', async (_title, lines, users) => {
    const proc = await mkdtemp(join(tmpdir(), 'plasmawatch-proc-'));
    await mkdir(join(proc, 'self/net'), { recursive: true });
    await writeFile(join(proc, 'self/net/tcp'), HEADING + lines.join(''));
    const address = parseAddress('127.0.0.1');
    if (address === undefined) throw new Error('no address');
    expect(await listeningUsers(address, 0x2049, proc)).toEqual(new Set(users));
    await rm(proc, { recursive: true });
  });
});
