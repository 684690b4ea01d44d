import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { examineDisk, judgeRoom } from '../../../cli/doctor/disk.ts';

const PATH = '/var/lib/plasmawatch/agent/spool.db';

describe("the room on the spool's disk", () => {
  it('is told with its size', () => {
    expect(judgeRoom(PATH, 2 ** 30)).toEqual({
      type: 'check',
      name: 'disk',
      ok: true,
      detail: `1 GiB free for the spool ${PATH}`,
      fix: null,
    });
  });

  it('that is too little is told with its code, and what to do', () => {
    expect(judgeRoom(PATH, 4096)).toMatchObject({
      ok: false,
      detail: `4 KiB free for the spool ${PATH} [PW_DISK_FULL]`,
      fix: 'make room: reports that wait in memory are lost with the agent',
    });
  });

  it('is looked at where the spool will be, before its folder is made', async () => {
    expect((await examineDisk(join(tmpdir(), 'not', 'made', 'yet', 'spool.db'))).detail).toMatch(
      /^[\d.]+ [KMGT]?i?B free/,
    );
  });
});
