import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { UserNames } from '../../../agent/process/user-names.ts';
import { FakeClock } from '../../support/fake-clock.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plasmawatch-users-'));
});
afterEach(() => rm(folder, { recursive: true }));

it('names users by the first line that has their number, and learns of new ones after a minute', async () => {
  const path = join(folder, 'passwd');
  const clock = new FakeClock();
  await writeFile(
    path,
    'root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\nbroken\nray:x:1000:1000::/:/\n',
  );
  const names = new UserNames(clock, path);
  expect([await names.of(0), await names.of(1000), await names.of(1001)]).toEqual(['root', 'ray', undefined]);
  await writeFile(path, 'eve:x:1001:1001::/:/\n');
  expect(await names.of(1001)).toBeUndefined();
  clock.advance(60_000);
  expect(await names.of(1001)).toBe('eve');
});

it('knows nobody where there is no file', async () => {
  expect(await new UserNames(new FakeClock(), join(folder, 'none')).of(0)).toBeUndefined();
});
