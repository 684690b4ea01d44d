import { describe, expect, it } from 'vitest';
import { LINKTYPE_ETHERNET } from '../../../agent/decode/link-type.ts';
import {
  decodeHex,
  ETHERNET_ADDRESSES,
  ETHERNET_FRAME,
  IPV4_PACKET,
  IPV6_PACKET,
} from '../../support/packet-bytes.ts';

const decodeMpls = (hex: string) =>
  decodeHex(`${ETHERNET_ADDRESSES} 88 47 ${hex}`, { linkType: LINKTYPE_ETHERNET });

describe('MPLS', () => {
  it.each([
    ['IPv4', `00 01 01 40 ${IPV4_PACKET}`],
    ['IPv6', `00 00 21 40 ${IPV6_PACKET}`],
    ['IPv4 behind three labels', `00 01 00 40 00 02 00 40 00 03 01 40 ${IPV4_PACKET}`],
    ['Ethernet', `00 01 01 40 ${ETHERNET_FRAME}`],
    ['Ethernet behind a control word', `00 01 01 40 00 00 00 00 ${ETHERNET_FRAME}`],
  ])('carries %s', (_name, hex) => {
    expect(decodeMpls(hex)).toMatchObject({ outcome: 'tcp', destinationPort: 43_800 });
  });

  it.each([
    ['a label without an end', '00 01 00 40', 'truncated'],
    ['a last label without anything', '00 01 01 40', 'truncated'],
    ['a channel of its own', '00 01 01 40 10 00 00 21 45 00', 'not-ip'],
    ['labels without end', '00 01 00 40 '.repeat(100), 'too-many-headers'],
  ])('names what became of %s', (_name, hex, outcome) => {
    expect(decodeMpls(hex).outcome).toBe(outcome);
  });
});
