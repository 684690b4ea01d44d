import { describe, expect, it } from 'vitest';
import { communityId } from '../../../agent/flow/community-id.ts';
import { parseAddress } from '../../../common/address.ts';

function endpoint(ip: string, port: number) {
  const address = parseAddress(ip);
  if (address === undefined) throw new Error(`no address: ${ip}`);
  return { ...address, port };
}

describe('communityId', () => {
  // From the specification's baseline (baseline/baseline_deflt.json) for its tcp.pcap.
  it('gives the value of the specification', () => {
    const a = endpoint('128.232.110.120', 34_855);
    const b = endpoint('66.35.250.204', 80);
    expect(communityId(a, b)).toBe('1:LQU9qZlK+B5F3KDmev6m5PMibrg=');
  });

  it('is the same in both directions', () => {
    const a = endpoint('fe80::1', 1);
    const b = endpoint('fe80::1', 2);
    expect(communityId(a, b)).toBe(communityId(b, a));
  });
});
