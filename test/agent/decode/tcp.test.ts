import { describe, expect, it } from 'vitest';
import { LINKTYPE_IPV4 } from '../../../agent/decode/link-type.ts';
import { decode, Packet } from '../../../agent/decode/packet.ts';
import { bytesOf, frameOf, TCP_HEADER } from '../../support/packet-bytes.ts';

/** Puts TCP bytes into an IPv4 packet of the right length; `cut` bytes at the end are not captured. */
function decodeTcp(hex: string, { cut = 0, isFragment = false } = {}) {
  const segment = bytesOf(hex);
  const totalLength = 20 + segment.length;
  const length = totalLength.toString(16).padStart(4, '0');
  const header = `45 00 ${length} 00 00 ${isFragment ? '20' : '40'} 00 40 06 00 00 c0 a8 00 01 0a c8 00 02`;
  const captured = Buffer.from(segment.subarray(0, segment.length - cut)).toString('hex');
  const packet = new Packet();
  const outcome = decode(
    frameOf(header + captured, { linkType: LINKTYPE_IPV4, originalLength: totalLength }),
    packet,
  );
  return { outcome, packet };
}

describe('TCP', () => {
  it('fills every field', () => {
    const { outcome, packet } = decodeTcp(`${TCP_HEADER} 01 02 03`);
    expect(outcome).toBe('tcp');
    expect(packet).toMatchObject({
      sourcePort: 40_000,
      destinationPort: 43_800,
      sequence: 0x11223344,
      acknowledgment: 0x55667788,
      tcpFlags: 0x18,
      window: 0x1234,
      payloadLength: 3,
      payloadOffset: 40,
      payloadCaptured: 3,
      isFragment: false,
    });
  });

  it('reads sequence numbers as signed, all else as unsigned', () => {
    const { packet } = decodeTcp('ff ff ff fe  ff ff ff fd  ff ff ff fc  50 10 ff ff  00 00 00 00');
    expect([
      packet.sourcePort,
      packet.destinationPort,
      packet.sequence,
      packet.acknowledgment,
      packet.window,
    ]).toEqual([65_535, 65_534, -3, -4, 65_535]);
  });

  it('steps over options', () => {
    const { packet } = decodeTcp(`${TCP_HEADER.replace('50 18', '60 18')} 02 04 05 b4 aa`);
    expect([packet.payloadOffset, packet.payloadLength]).toEqual([44, 1]);
  });

  it('tells the whole payload and the part that was captured', () => {
    const { packet } = decodeTcp(TCP_HEADER + ' 77'.repeat(100), { cut: 60 });
    expect([packet.payloadLength, packet.payloadCaptured]).toEqual([100, 40]);
  });

  it('has no captured payload where the options are cut', () => {
    const { outcome, packet } = decodeTcp(`${TCP_HEADER.replace('50 18', '60 18')} 02 04 05 b4 aa bb`, {
      cut: 4,
    });
    expect([outcome, packet.payloadLength, packet.payloadCaptured]).toEqual(['tcp', 2, 0]);
  });

  it('gives the ports and no flags where the rest of the header is cut', () => {
    const { outcome, packet } = decodeTcp(TCP_HEADER, { cut: 8 });
    expect([outcome, packet.sourcePort, packet.destinationPort, packet.tcpFlags]).toEqual([
      'tcp',
      40_000,
      43_800,
      0,
    ]);
  });

  it.each([
    [1, { window: 0x1234 }],
    [4, { window: 0x1234 }],
    [5, { window: 0 }],
    [6, { window: 0 }],
  ])('gives state and payload where the last %i bytes of 20 are cut', (cut, fields) => {
    const { outcome, packet } = decodeTcp(`${TCP_HEADER} ${'77 '.repeat(30)}`, { cut: 30 + cut });
    expect(outcome).toBe('tcp');
    expect(packet).toMatchObject({
      sourcePort: 40_000,
      destinationPort: 43_800,
      sequence: 0x11223344,
      acknowledgment: 0x55667788,
      tcpFlags: 0x18,
      payloadLength: 30,
      payloadCaptured: 0,
      ...fields,
    });
  });

  it('gives no flags of a cut header that contradicts itself', () => {
    const tooShort = decodeTcp(TCP_HEADER.replace('50 18', '40 18'), { cut: 4 });
    const tooLong = decodeTcp(TCP_HEADER.replace('50 18', 'f0 18'), { cut: 4 });
    expect([tooShort.packet.tcpFlags, tooLong.packet.tcpFlags]).toEqual([0, 0]);
  });

  it('gives the ports of a first fragment that leaves the flags to the next one', () => {
    const { outcome, packet } = decodeTcp(TCP_HEADER.slice(0, 23), { isFragment: true });
    expect([outcome, packet.destinationPort, packet.tcpFlags, packet.payloadLength]).toEqual([
      'tcp',
      43_800,
      0,
      0,
    ]);
  });

  it.each([
    ['has only 19 bytes', decodeTcp(TCP_HEADER.slice(0, -3))],
    ['is less than 20 bytes by its own word', decodeTcp(TCP_HEADER.replace('50 18', '40 18'))],
    ['goes on beyond the packet by its own word', decodeTcp(TCP_HEADER.replace('50 18', 'f0 18'))],
  ])('gives the ports and nothing else of a header that %s', (_name, { outcome, packet }) => {
    expect(outcome).toBe('tcp');
    expect(packet).toMatchObject({
      sourcePort: 40_000,
      destinationPort: 43_800,
      tcpFlags: 0,
      payloadLength: 0,
    });
  });

  it.each([
    ['a header cut in its ports', decodeTcp(TCP_HEADER, { cut: 17 }), 'truncated'],
    ['a packet that ends in the ports', decodeTcp(TCP_HEADER.slice(0, 9)), 'malformed'],
  ])('names what became of %s', (_name, { outcome }, expected) => {
    expect(outcome).toBe(expected);
  });
});
