import { describe, expect, it } from 'vitest';
import { exit, assemble, load, move } from '../../../../agent/capture/linux/bpf-assembler.ts';
import { BatchReader, BpfMap, loadSocketFilter } from '../../../../agent/capture/linux/bpf-maps.ts';
import { BPF_MAP_TYPE_HASH } from '../../../../agent/capture/linux/constants.ts';
import { loadLibc } from '../../../../agent/capture/linux/libc.ts';
import { missingForNamespaces } from '../../../support/netns.ts';

const missing = missingForNamespaces();
const ENTRIES = 1000;

describe.skipIf(missing !== undefined)(`eBPF maps and programs (need ${missing ?? 'nothing more'})`, () => {
  it('keep, give and take entries', async () => {
    const map = new BpfMap(await loadLibc(), {
      type: BPF_MAP_TYPE_HASH,
      keySize: 4,
      valueSize: 8,
      maxEntries: 1,
    });
    try {
      map.key.setUint32(0, 5, true);
      expect(map.lookUp()).toBe(false);
      map.value.setUint32(0, 77, true);
      map.update();
      map.value.setUint32(0, 0, true);
      expect([map.lookUp(), map.value.getUint32(0, true)]).toEqual([true, 77]);
      map.key.setUint32(0, 6, true);
      expect(() => map.update()).toThrow('write map on bpf: E2BIG');
      map.key.setUint32(0, 5, true);
      map.value.setUint32(0, 0, true);
      expect([map.take(), map.value.getUint32(0, true), map.take()]).toEqual([true, 77, false]);
    } finally {
      map.close();
    }
  });

  it('are read in batches, each entry once, again and again', async () => {
    const libc = await loadLibc();
    const map = new BpfMap(libc, { type: BPF_MAP_TYPE_HASH, keySize: 4, valueSize: 4, maxEntries: ENTRIES });
    const reader = new BatchReader(libc, map, 64);
    try {
      for (let number = 0; number < ENTRIES; number++) {
        map.key.setUint32(0, number, true);
        map.value.setUint32(0, number * 2, true);
        map.update();
      }
      for (let round = 0; round < 2; round++) {
        const found = new Map<number, number>();
        for (let isEnd = false; !isEnd;) {
          const batch = reader.read();
          for (let index = 0; index < batch.count; index++) {
            found.set(reader.keys.getUint32(index * 4, true), reader.values.getUint32(index * 4, true));
          }
          ({ isEnd } = batch);
        }
        expect(found.size).toBe(ENTRIES);
        expect([...found].every(([key, value]) => value === key * 2)).toBe(true);
      }
    } finally {
      reader.close();
      map.close();
    }
  });

  it('say in one line what the verifier has against a program', async () => {
    const libc = await loadLibc();
    const fd = loadSocketFilter(libc, assemble([move('r0', 0), exit()]));
    libc.close(fd);
    const wrong = assemble([load(8, 'r0', 'r9', 0), exit()]);
    expect(() => loadSocketFilter(libc, wrong)).toThrow(
      /^load program on bpf: EACCES; the verifier says: .*R9 !read_ok[^\n]*$/,
    );
  });
});
