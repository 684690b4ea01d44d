import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createLogger, LOG_FORMATS } from '../../common/log.ts';

const HOSTILE = 'a\u001b[2J\u009bb\u202ec\n12:00:00 INFO all is well\u2028';

describe.each(LOG_FORMATS)('a log of %s', (format) => {
  it('has a line an event and nothing that a terminal acts on, whatever is logged', () => {
    const folder = mkdtempSync(join(tmpdir(), 'plasmawatch-log-'));
    const descriptor = openSync(join(folder, 'log'), 'w');
    try {
      const logger = createLogger({ level: 'info', format, descriptor });
      logger.warn({ id: HOSTILE }, `new: ${HOSTILE}`);
      logger.child({ component: 'edge' }).warn(HOSTILE);
      logger.warn({ list: ['w1'], count: 3 }, 'a plain one');
      const text = readFileSync(join(folder, 'log'), 'utf8');
      expect(text).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]|\\u001b|\\n/u);
      expect(text).not.toMatch(/^12:00:00 INFO/m);
      expect(text).toContain('all is well');
      expect(text).toContain('w1');
    } finally {
      closeSync(descriptor);
      rmSync(folder, { recursive: true });
    }
  });
});
