import { describe, expect, it } from 'vitest';
import { LINKTYPE_IPV4 } from '../../../agent/decode/link-type.ts';
import {
  decodeHex,
  ETHERNET_FRAME,
  IPV4_PACKET,
  IPV6_PACKET,
  udpPacket,
} from '../../support/packet-bytes.ts';

const decodeGeneve = (hex: string) => decodeHex(udpPacket(6081, hex), { linkType: LINKTYPE_IPV4 });

describe('Geneve', () => {
  it.each([
    ['Ethernet', `00 00 65 58 00 00 01 00 ${ETHERNET_FRAME}`],
    ['Ethernet behind options', `02 40 65 58 00 00 01 00  01 02 03 01 aa bb cc dd ${ETHERNET_FRAME}`],
    ['IPv4', `00 00 08 00 00 00 01 00 ${IPV4_PACKET}`],
    ['IPv6', `00 00 86 dd 00 00 01 00 ${IPV6_PACKET}`],
  ])('carries %s', (_name, hex) => {
    expect(decodeGeneve(hex)).toMatchObject({ outcome: 'tcp', destinationPort: 43_800, tunnel: 'geneve' });
  });

  it.each([
    ['another version', `40 00 65 58 00 00 01 00 ${ETHERNET_FRAME}`, 'not-tcp'],
    ['a cut header', '00 00 65 58', 'truncated'],
    ['options beyond the packet', `3f 00 65 58 00 00 01 00 ${ETHERNET_FRAME}`, 'truncated'],
    ['a protocol that is not decoded', `00 00 89 4f 00 00 01 00 ${ETHERNET_FRAME}`, 'not-ip'],
  ])('names what became of %s', (_name, hex, outcome) => {
    expect(decodeGeneve(hex).outcome).toBe(outcome);
  });
});
