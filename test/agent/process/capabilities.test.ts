import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readCapabilities } from '../../../agent/process/capabilities.ts';

const NONE = { netRaw: false, bpf: false, sysPtrace: false, dacReadSearch: false };

describe('readCapabilities', () => {
  it.each([
    ['000001fffeffffff', { netRaw: true, bpf: true, sysPtrace: true, dacReadSearch: true }],
    ['0000000000002000', { ...NONE, netRaw: true }],
    ['0000008000000000', { ...NONE, bpf: true }],
    ['0000000000080000', { ...NONE, sysPtrace: true }],
    ['0000000000000004', { ...NONE, dacReadSearch: true }],
    ['0000000000000000', NONE],
  ])('reads the mask %s', async (mask, expected) => {
    const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-status-'));
    try {
      const path = join(folder, 'status');
      await writeFile(path, `Name:\tnode\nCapPrm:\tffffffffffffffff\nCapEff:\t${mask}\n`);
      expect(await readCapabilities(path)).toEqual(expected);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('does not know where there is no such file', async () => {
    const unknown = { netRaw: undefined, bpf: undefined, sysPtrace: undefined, dacReadSearch: undefined };
    expect(await readCapabilities('/nonesuch')).toEqual(unknown);
  });
});
