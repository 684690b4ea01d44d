import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { changedSettings, SettingsReload } from '../../cli/reload.ts';
import { PlasmawatchError } from '../../common/errors.ts';
import { FakeClock } from '../support/fake-clock.ts';

const schema = z.strictObject({
  port: z.number(),
  receivers: z.array(z.string()).default([]),
  tls: z.strictObject({ certFile: z.string(), key: z.string() }).optional(),
  tokenFile: z.string().optional(),
});
type Config = z.output<typeof schema>;

describe('the settings of a running service', () => {
  let folder: string;
  let clock: FakeClock;
  let reload: SettingsReload<Config> | undefined;
  const logged: string[] = [];
  const log = (fields: object, message?: string): void =>
    void logged.push(`${message ?? ''} ${JSON.stringify(fields)}`);

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-reload-'));
    clock = new FakeClock();
    logged.length = 0;
    await writeFile(join(folder, 'token'), 'one');
  });
  afterEach(async () => {
    await reload?.stop();
    await rm(folder, { recursive: true });
  });

  const write = (text: string): Promise<void> => writeFile(join(folder, 'settings'), text);

  const open = async (config: Config, apply: (config: Config) => void = () => undefined) => {
    const applied: Config[] = [];
    reload = new SettingsReload<Config>({
      schema,
      path: join(folder, 'settings'),
      config,
      reloadable: ['receivers', 'tls.key', 'tokenFile'],
      apply: async (next) => {
        await Promise.resolve();
        apply(next);
        applied.push(next);
      },
      clock,
      logger: { info: log, warn: log, error: log } as never,
    });
    await reload.start();
    return { applied, reload };
  };

  /** Lets a look at the files happen, and come to its end. */
  const look = async (): Promise<void> => {
    clock.advance(2000);
    await reload?.settled();
  };

  it('are taken over where they can be; the others are named and stay', async () => {
    const { applied, reload: settings } = await open({
      port: 1,
      receivers: [],
      tls: { certFile: 'a', key: 'b' },
    });
    await write('{ port: 2, receivers: [x], tls: { certFile: c, key: d } }');
    await settings.reload();
    expect(applied).toEqual([{ port: 1, receivers: ['x'], tls: { certFile: 'a', key: 'd' } }]);
    expect(settings.remark).toBe('a restart is needed for port, tls.certFile');
    await write('{ port: 1, receivers: [y], tls: { certFile: a, key: d } }');
    await settings.reload();
    expect(applied.at(-1)?.receivers).toEqual(['y']);
    expect(settings.remark).toBeUndefined();
  });

  it('need a restart where a section comes or goes as a whole', async () => {
    const { applied, reload: settings } = await open({ port: 1, receivers: [] });
    await write('{ port: 1, tls: { certFile: a, key: b } }');
    await settings.reload();
    expect(applied).toEqual([{ port: 1, receivers: [] }]);
    expect(settings.remark).toBe('a restart is needed for tls');
  });

  it.each([
    ['wrong', '{ prot: 1 }', 'is wrong'],
    ['gone', undefined, 'is wrong'],
    ['of a secret that is none', '{ port: 1, receivers: [refused] }', 'no such receiver'],
  ])(
    'stay when the new ones are %s, and the next ones are compared with them',
    async (_what, text, reason) => {
      const { applied, reload: settings } = await open({ port: 1, receivers: [] }, ({ receivers }) => {
        if (receivers.includes('refused')) throw new PlasmawatchError('PW_SECRET', 'no such receiver');
      });
      if (text !== undefined) await write(text);
      await settings.reload();
      expect(applied).toEqual([]);
      expect(settings.remark).toMatch(new RegExp(`^changed settings refused: .*${reason}`));
      await write('{ port: 1, receivers: [x] }');
      await settings.reload();
      expect(applied).toEqual([{ port: 1, receivers: ['x'] }]);
      expect(settings.remark).toBeUndefined();
    },
  );

  it('have their secrets read again once a changed file is still, and once only', async () => {
    const config = { port: 1, receivers: [], tokenFile: join(folder, 'token') };
    const { applied } = await open(config);
    await look();
    expect(applied).toEqual([]);
    await writeFile(join(folder, 'token'), 'two');
    await look();
    expect(applied).toEqual([]);
    await look();
    expect(applied).toEqual([config]);
    await look();
    await look();
    expect(applied).toEqual([config]);
  });

  it('notice a file that was put in the place of another', async () => {
    const { applied } = await open({ port: 1, receivers: [], tokenFile: join(folder, 'token') });
    await writeFile(join(folder, 'new'), 'two');
    await rename(join(folder, 'new'), join(folder, 'token'));
    await look();
    await look();
    expect(applied).toHaveLength(1);
  });

  it('do not go with secrets that have changed: those need a reload', async () => {
    const { applied } = await open({ port: 1, receivers: [], tokenFile: join(folder, 'token') });
    await write('{ port: 1, receivers: [x] }');
    await writeFile(join(folder, 'token'), 'two');
    await look();
    await look();
    expect(applied.map(({ receivers }) => receivers)).toEqual([[]]);
  });

  it('tell once that changed secrets are wrong, and take the next ones', async () => {
    let isRight = false;
    const { applied, reload: settings } = await open(
      { port: 1, receivers: [], tokenFile: join(folder, 'token') },
      () => {
        if (!isRight) throw new PlasmawatchError('PW_SECRET', 'certificate and key do not match');
      },
    );
    await writeFile(join(folder, 'token'), 'half');
    for (let times = 0; times < 5; times++) await look();
    expect(logged.filter((line) => line.includes('refused'))).toHaveLength(1);
    expect(settings.remark).toContain('do not match');
    isRight = true;
    await writeFile(join(folder, 'token'), 'whole');
    await look();
    await look();
    expect(applied).toHaveLength(1);
    expect(settings.remark).toBeUndefined();
  });

  it('are read once more for any number of signals while a reload is under way', async () => {
    const { applied, reload: settings } = await open({ port: 1, receivers: [] });
    await write('{ port: 1, receivers: [x] }');
    await Promise.all(Array.from({ length: 1000 }, () => settings.reload()));
    expect(applied.length).toBeLessThanOrEqual(2);
  });

  it('are left alone after the stop', async () => {
    const { applied, reload: settings } = await open({
      port: 1,
      receivers: [],
      tokenFile: join(folder, 'token'),
    });
    await settings.stop();
    await write('{ port: 1, receivers: [x] }');
    await settings.reload();
    expect(applied).toEqual([]);
    expect(clock.pending).toBe(0);
  });

  it('hide no fault of our own', async () => {
    const { reload: settings } = await open({ port: 1, receivers: [] }, () => {
      throw new TypeError('a fault of ours');
    });
    await write('{ port: 1, receivers: [x] }');
    await expect(settings.reload()).rejects.toThrow('a fault of ours');
    reload = undefined;
  });
});

describe('changedSettings', () => {
  it.each([
    [{ a: 1 }, { a: 1 }, []],
    [{ a: { b: 1, c: 2 } }, { a: { b: 1, c: 3 } }, ['a.c']],
    [{ a: [1] }, { a: [1, 2] }, ['a']],
    [{}, { a: { b: 1 } }, ['a']],
    [{ a: undefined }, {}, []],
    [{ a: { b: 1 } }, { a: 1 }, ['a']],
  ])('of %j and %j are %j', (before, after, changed) => {
    expect(changedSettings(before, after)).toEqual(changed);
  });
});
