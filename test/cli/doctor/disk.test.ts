import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { examineDisk, judgeRoom, spoolPath } from '../../../cli/doctor/disk.ts';

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

describe('the file of the spool', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-doctor-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const silent = { stderr: new Writable({ write: (_chunk, _encoding, done) => done() }) };

  it('is the one of the settings', async () => {
    const config = join(folder, 'agent.yaml');
    await writeFile(config, 'collector: { url: "ws://127.0.0.1:9440" }\nspool: { path: /data/spool.db }\n');
    expect(await spoolPath(config, silent)).toBe('/data/spool.db');
  });

  it('is not known where the settings are wrong', async () => {
    const config = join(folder, 'agent.yaml');
    await writeFile(config, 'spool: { path: 7 }\n');
    expect(await spoolPath(config, silent)).toBeUndefined();
  });
});
