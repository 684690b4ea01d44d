import { describe, expect, it } from 'vitest';
import { clusterKey, findHeads, isNamed, isSameHead } from '../../../agent/membership/ray-node.ts';
import { formatAddress } from '../../../common/address.ts';
import { clusterKeySchema } from '../../../common/shared-view.ts';
import { sampleRaylet } from '../../support/sample-raylet.ts';

/** Of a version of Ray that does not tell the cluster's id on the command line. */
function rayletOf(gcsAddress: string) {
  const { clusterId: _, ...raylet } = sampleRaylet({ gcsAddress });
  return raylet;
}

describe('the head on the command line of a raylet', () => {
  it.each([
    ['10.77.0.10:6379', ['10.77.0.10'], '10.77.0.10:6379'],
    ['::ffff:10.77.0.10:6379', ['10.77.0.10'], '10.77.0.10:6379'],
    ['[fd00::10]:6379', ['fd00::10'], '[fd00::10]:6379'],
    // As Ray writes it, too.
    ['fd00::10:6379', ['fd00::10'], '[fd00::10]:6379'],
    ['[FD00:0:0::10]:6379', ['fd00::10'], '[fd00::10]:6379'],
    // Each node has its own loopback: that names no cluster.
    ['127.0.0.1:6379', ['127.0.0.1'], undefined],
    ['localhost:6379', ['127.0.0.1'], undefined],
    ['[::1]:6379', ['::1'], undefined],
  ])('%s is at %j', (text, addresses, key) => {
    const raylet = rayletOf(text);
    const [head, ...others] = findHeads([raylet]);
    expect(others).toEqual([]);
    expect(head?.addresses.map(formatAddress)).toEqual(addresses);
    expect(head && isNamed(head)).toBe(false);
    expect(clusterKey([raylet], head)).toBe(key);
    expect(clusterKeySchema.optional().safeParse(key).success).toBe(true);
  });

  it('is the same one however its address is written', () => {
    const spellings = ['[fd00::10]:6379', 'fd00::10:6379', '[FD00:0:0::10]:6379'];
    const [first, ...others] = findHeads(spellings.map(rayletOf));
    expect(others).toHaveLength(2);
    for (const other of others) expect(first && isSameHead(first, other)).toBe(true);
  });

  it.each([
    ['head.example:6379', 'head.example'],
    ['raycluster-kuberay-head-svc.default.svc.cluster.local:6379', undefined],
    ['Head_1:6379', 'head_1'],
  ])('%s is a name, to be resolved', (text, name) => {
    const [head] = findHeads([rayletOf(text)]);
    expect(head && isNamed(head)).toBe(true);
    expect(head?.address).toBe(name ?? text.slice(0, -':6379'.length));
    expect(clusterKey([rayletOf(text)], head)).toBeUndefined();
  });

  it.each(['', '10.77.0.10', '10.77.0.10:65536', '10.77.0.10:6379,10.77.0.11:6379', '-bad:6379'])(
    '%s is none',
    (text) => expect(findHeads([rayletOf(text)])).toEqual([]),
  );
});
