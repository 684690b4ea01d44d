import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createCollectorMetrics } from '../../../collector/metrics.ts';
import { StoreHealth, TRY_INTERVAL_MS } from '../../../collector/store/health.ts';
import { openSqliteStore } from '../../../collector/store/sqlite.ts';
import type { Store } from '../../../collector/store/store.ts';
import { TEST_EPOCH } from '../../support/collector-parts.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { sampleAnomaly } from '../../support/sample-report.ts';
import { missingForDisks, SmallDisk } from '../../support/small-disk.ts';

const missing = missingForDisks();

describe.skipIf(missing !== undefined)(
  `a store on a full disk (needs root on Linux to mount a small one${missing ? `, missing: ${missing}` : ''})`,
  () => {
    let folder: string;
    let disk: SmallDisk;
    let store: Store;
    let health: StoreHealth;
    const clock = new FakeClock();
    const metrics = createCollectorMetrics();
    const log: { code?: string; msg: string }[] = [];
    let sequence = 0;

    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), 'plasmawatch-health-'));
      disk = SmallDisk.mount(join(folder, 'disk'), '2m');
      store = await openSqliteStore(join(disk.path, 'collector.db'));
      const logger = pino(
        { level: 'info' },
        { write: (line: string) => log.push(JSON.parse(line) as (typeof log)[0]) },
      );
      health = new StoreHealth({ store, clock, logger, metrics });
    });
    afterEach(async () => {
      health.stop();
      store.close();
      disk.unmount();
      await rm(folder, { recursive: true });
    });

    const insert = (): boolean =>
      health.guard(() => {
        const source = { agent: 'w1', epoch: TEST_EPOCH, sequence: ++sequence };
        store.insertReport(source, sampleAnomaly(sequence), clock.now());
      });

    it('says so once, with its code, for as long as it lasts, and works again by itself', async () => {
      expect(insert()).toBe(true);
      expect(health.failure).toBeUndefined();
      disk.fill();
      while (insert());
      expect(health.failure?.code).toBe('PW_DISK_FULL');
      expect((await metrics.storeRefusing.get()).values[0]?.value).toBe(1);
      // What only reads works, and is no sign that it is over.
      expect(health.guard(() => void store.unresolvedCount())).toBe(true);
      for (let round = 0; round < 10; round++) {
        expect(insert()).toBe(false);
        clock.advance(TRY_INTERVAL_MS);
      }
      expect(health.failure?.code).toBe('PW_DISK_FULL');
      disk.free();
      clock.advance(TRY_INTERVAL_MS);
      expect(health.failure).toBeUndefined();
      expect((await metrics.storeRefusing.get()).values[0]?.value).toBe(0);
      expect(insert()).toBe(true);
      expect(clock.pending).toBe(0);
      expect(log.map(({ code, msg }) => [code, msg])).toEqual([
        [
          'PW_DISK_FULL',
          expect.stringMatching(/^cannot use the store .*full: agents keep their reports until it works$/),
        ],
        [undefined, 'the store works again'],
      ]);
      expect((await metrics.storeFailures.get()).values[0]?.value).toBeGreaterThan(10);
    });
  },
);

describe('what is no fault of the disk', () => {
  it('is thrown on', async () => {
    const store = await openSqliteStore(':memory:');
    const logger = pino({ level: 'silent' });
    const health = new StoreHealth({
      store,
      clock: new FakeClock(),
      logger,
      metrics: createCollectorMetrics(),
    });
    const fail = (): void => {
      throw new TypeError('our own mistake');
    };
    expect(() => health.guard(fail)).toThrow('our own mistake');
    expect(health.failure).toBeUndefined();
    store.close();
  });
});
