import { describe, expect, it } from 'vitest';
import { LINKTYPE_ETHERNET } from '../../../agent/decode/link-type.ts';
import { decodeHex, ETHERNET_ADDRESSES, ETHERNET_FRAME, IPV4_PACKET } from '../../support/packet-bytes.ts';

const decodeFrame = (hex: string) =>
  decodeHex(`${ETHERNET_ADDRESSES} ${hex}`, { linkType: LINKTYPE_ETHERNET });

describe('a tag', () => {
  it.each([
    ['of three VLANs', `88 a8 00 01 81 00 00 02 81 00 00 03 08 00 ${IPV4_PACKET}`],
    ['of a VLAN around a length', `81 00 00 01 00 30 aa aa 03 00 00 00 08 00 ${IPV4_PACKET}`],
    ["of a provider's backbone", `88 e7 00 00 00 01 ${ETHERNET_FRAME}`],
    ['of a port extender', `89 3f 00 00 00 00 00 00 08 00 ${IPV4_PACKET}`],
    ['of a virtual interface', `89 26 00 00 00 00 08 00 ${IPV4_PACKET}`],
    ['of a switch fabric', `89 03 00 20 ${ETHERNET_FRAME}`],
  ])('%s is stepped over', (_name, hex) => {
    expect(decodeFrame(hex)).toMatchObject({ outcome: 'tcp', destinationPort: 43_800, tunnel: 'none' });
  });

  it.each([
    ['is cut', '89 3f 00 00 00 00', 'truncated'],
    ['follows on others without end', '81 00 00 01 '.repeat(100), 'too-many-headers'],
  ])('that %s is named', (_name, hex, outcome) => {
    expect(decodeFrame(hex).outcome).toBe(outcome);
  });
});
