import { describe, expect, it } from 'vitest';
import { LINKTYPE_ETHERNET } from '../../../agent/decode/link-type.ts';
import { decodeHex, ETHERNET_ADDRESSES, IPV4_PACKET, IPV6_PACKET } from '../../support/packet-bytes.ts';

const decodeFrame = (hex: string) =>
  decodeHex(`${ETHERNET_ADDRESSES} ${hex}`, { linkType: LINKTYPE_ETHERNET });

describe('LLC', () => {
  it.each([
    ['IPv4 in SNAP', `00 30 aa aa 03 00 00 00 08 00 ${IPV4_PACKET}`],
    ['IPv6 in SNAP', `00 44 aa aa 03 00 00 00 86 dd ${IPV6_PACKET}`],
    ['IPv4 in SNAP of a bridge', `00 30 aa aa 03 00 00 f8 08 00 ${IPV4_PACKET}`],
    ['IPv4 directly', `00 2b 06 06 03 ${IPV4_PACKET}`],
  ])('carries %s', (_name, hex) => {
    expect(decodeFrame(hex)).toMatchObject({ outcome: 'tcp', destinationPort: 43_800 });
  });

  it.each([
    ['spanning tree', '00 26 42 42 03', 'not-ip'],
    ["Cisco's discovery", '00 0a aa aa 03 00 00 0c 20 00 02 b4', 'not-ip'],
    ['a numbered frame', '00 04 f0 f0 00 01', 'not-ip'],
    ['a cut header', '00 26 42 42', 'truncated'],
    ['a cut SNAP header', '00 26 aa aa 03 00 00', 'truncated'],
    ['a length that ends in the header', '00 04 aa aa 03 00 00 00 08 00 45', 'truncated'],
  ])('names what became of %s', (_name, hex, outcome) => {
    expect(decodeFrame(hex).outcome).toBe(outcome);
  });
});
