import { describe, expect, it } from 'vitest';
import {
  ARPHRD_ETHER,
  ARPHRD_INFINIBAND,
  ARPHRD_LOOPBACK,
} from '../../../../agent/capture/linux/constants.ts';
import { linkHeaderLength, vlanTagsLength } from '../../../../agent/capture/linux/link-header.ts';

const ARPHRD_NONE = 0xfffe;
const IPV4 = '4500 0800 4500 4000 40 06 0000 0a000001 0a000002';
const IPV6 = '6000 8100 0014 0640';

describe('linkHeaderLength', () => {
  it.each([
    ['Ethernet', ARPHRD_ETHER, 14],
    ['loopback', ARPHRD_LOOPBACK, 14],
    ['IP over InfiniBand', ARPHRD_INFINIBAND, 4],
    ['a tunnel', ARPHRD_NONE, 0],
  ])('knows %s', (_title, hardwareType, length) => {
    expect(linkHeaderLength(hardwareType)).toBe(length);
  });
});

describe('vlanTagsLength', () => {
  it.each([
    ['no tag before IPv4 whose length looks like a type', IPV4, 2048, 0],
    ['no tag before IPv6 whose flow label looks like a type', IPV6, 60, 0],
    ['one tag', `0005 0800 ${IPV4}`, 2052, 4],
    ['one tag before IPv6', `0005 86dd ${IPV6}`, 64, 4],
    ['two tags', `0005 8100 0007 0800 ${IPV4}`, 2056, 8],
    ['a tag whose priority looks like IPv4', `4507 0800 ${IPV4}`, 2052, 4],
    ['a tag whose priority looks like IPv6', `6007 86dd ${IPV6}`, 64, 4],
    ['no tag before another protocol', '0001 0806 0800 0604', 28, 0],
    ['nothing in a packet that is cut short', '0005 0800', 2052, 0],
    ['nothing in an empty packet', '', 0, 0],
  ])('finds %s', (_title, hex, wireLength, expected) => {
    const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex');
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    expect(vlanTagsLength(view, 0, bytes.length, wireLength)).toBe(expected);
  });
});
