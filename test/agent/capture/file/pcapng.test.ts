import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { openCaptureFile } from '../../../../agent/capture/file/open.ts';
import { collectFrames } from '../../../support/frames.ts';
import { bytesOf } from '../../../support/packet-bytes.ts';
import { ENHANCED_PACKET, INTERFACE, SECTION } from '../../../support/pcapng-bytes.ts';

async function read(...blocks: string[]) {
  const source = openCaptureFile('-', { stdin: Readable.from([Buffer.from(bytesOf(blocks.join(' ')))]) });
  return { ...(await collectFrames(source)), source };
}

/** The packet of ENHANCED_PACKET; its time is 0x0006000000000001 microseconds. */
const FRAME = {
  seconds: 1_688_849_860,
  nanoseconds: 263_937_000,
  originalLength: 100,
  linkType: 1,
  interfaceIndex: 0,
  hex: 'aabbccddee',
};

/** Interface description of raw IP (101), name "eth7", times in units of 10^-9 s, 3600 s to be added. */
const NAMED_INTERFACE =
  '01 00 00 00  34 00 00 00  65 00 00 00  ff ff 00 00' +
  ' 02 00 04 00  65 74 68 37  09 00 01 00  09 00 00 00  0e 00 08 00  10 0e 00 00 00 00 00 00  00 00 00 00  34 00 00 00';
const OLD_PACKET =
  '02 00 00 00  28 00 00 00  00 00 07 00  00 00 06 00 01 00 00 00  05 00 00 00  64 00 00 00  aa bb cc dd ee 00 00 00  28 00 00 00';
/** Simple packet: 5 bytes of 5. */
const SIMPLE_PACKET = '03 00 00 00  18 00 00 00  05 00 00 00  aa bb cc dd ee 00 00 00  18 00 00 00';
const CUSTOM_BLOCK = 'ad 0b 00 00  14 00 00 00  00 00 00 01  de ad be ef  14 00 00 00';
/** A decryption secrets block: TLS keys, 4 bytes of them. */
const SECRETS_BLOCK = '0a 00 00 00  18 00 00 00  4b 53 4c 54  04 00 00 00  43 4c 49 45  18 00 00 00';

const BIG_SECTION =
  '0a 0d 0d 0a  00 00 00 1c  1a 2b 3c 4d  00 01 00 00  ff ff ff ff ff ff ff ff  00 00 00 1c';
const BIG_INTERFACE = '00 00 00 01  00 00 00 14  00 01 00 00  00 00 ff ff  00 00 00 14';
const BIG_PACKET =
  '00 00 00 06  00 00 00 28  00 00 00 00  00 06 00 00 00 00 00 01  00 00 00 05  00 00 00 64  aa bb cc dd ee 00 00 00  00 00 00 28';

describe('a pcapng capture', () => {
  it.each([
    ['an enhanced packet', [SECTION, INTERFACE, ENHANCED_PACKET], FRAME],
    ['an obsolete packet, beside a count of drops', [SECTION, INTERFACE, OLD_PACKET], FRAME],
    [
      'a simple packet, at the epoch for want of a time',
      [SECTION, INTERFACE, SIMPLE_PACKET],
      { ...FRAME, seconds: 0, nanoseconds: 0, originalLength: 5 },
    ],
    ['a big-endian section', [BIG_SECTION, BIG_INTERFACE, BIG_PACKET], FRAME],
    [
      'a packet behind a block of an unknown type',
      [SECTION, CUSTOM_BLOCK, INTERFACE, CUSTOM_BLOCK, ENHANCED_PACKET],
      FRAME,
    ],
    [
      'a packet behind the keys of its connection (a secrets block)',
      [SECTION, SECRETS_BLOCK, INTERFACE, ENHANCED_PACKET],
      FRAME,
    ],
    [
      'a packet behind names, counts and a custom block that must not be copied',
      [
        SECTION,
        INTERFACE,
        emptyBlock('04 00 00 00'),
        emptyBlock('05 00 00 00'),
        emptyBlock('ad 0b 00 40'),
        ENHANCED_PACKET,
      ],
      FRAME,
    ],
    ['version 1.2', [SECTION.replace('01 00 00 00', '01 00 02 00'), INTERFACE, ENHANCED_PACKET], FRAME],
  ])('gives %s', async (_name, blocks, frame) => {
    const { frames, error } = await read(...blocks);
    expect({ frames, error }).toEqual({ frames: [frame], error: undefined });
  });

  it('gives each section its own byte order and its own interfaces', async () => {
    const { frames, error } = await read(
      SECTION,
      INTERFACE,
      ENHANCED_PACKET,
      BIG_SECTION,
      BIG_INTERFACE,
      BIG_PACKET,
    );
    expect({ frames, error }).toEqual({ frames: [FRAME, FRAME], error: undefined });
    const second = await read(SECTION, INTERFACE, ENHANCED_PACKET, BIG_SECTION, BIG_PACKET);
    expect(second.error).toMatchObject({
      message: expect.stringContaining('interface 0, but the section has described 0'),
    });
  });

  it('reads times, link type and name of each interface', async () => {
    const packet = ENHANCED_PACKET.replace('28 00 00 00  00 00 00 00', '28 00 00 00  01 00 00 00');
    const { frames, source } = await read(SECTION, INTERFACE, NAMED_INTERFACE, packet);
    const nanoseconds = 0x0006_0000_0000_0001n;
    expect(frames).toEqual([
      {
        ...FRAME,
        seconds: Number(nanoseconds / 1_000_000_000n) + 3600,
        nanoseconds: Number(nanoseconds % 1_000_000_000n),
        linkType: 101,
        interfaceIndex: 1,
      },
    ]);
    expect([source.interfaceName(0), source.interfaceName(1), source.interfaceName(2)]).toEqual([
      undefined,
      'eth7',
      undefined,
    ]);
  });

  it('reads times in parts of a second that are powers of two, and ones that are to be moved back', async () => {
    // Units of 2^-20 s, and an offset of -3600 s.
    const inPowersOfTwo = NAMED_INTERFACE.replace('09 00 01 00  09', '09 00 01 00  94').replace(
      '10 0e 00 00 00 00 00 00',
      'f0 f1 ff ff ff ff ff ff',
    );
    const { frames } = await read(SECTION, inPowersOfTwo, ENHANCED_PACKET);
    const units = 0x0006_0000_0000_0001n;
    expect(frames).toMatchObject([
      {
        seconds: Number(units / 1_048_576n) - 3600,
        nanoseconds: Number(((units % 1_048_576n) * 1_000_000_000n) / 1_048_576n),
      },
    ]);
  });

  it('cuts a simple packet at the snap length of its interface', async () => {
    const interfaceOf3Bytes = INTERFACE.replace('ff ff 00 00', '03 00 00 00');
    const { frames } = await read(SECTION, interfaceOf3Bytes, SIMPLE_PACKET);
    expect(frames).toMatchObject([{ originalLength: 5, hex: 'aabbcc' }]);
  });

  it('skips a block that is longer than the buffer, and checks its end', async () => {
    const length = 5 * 1024 * 1024;
    const block = Buffer.alloc(length);
    for (const position of [4, length - 4]) block.writeUInt32LE(length, position);
    block.writeUInt32LE(0xbad, 0);
    const good = await collectFrames(openCaptureFile('-', { stdin: Readable.from(pieces(block)) }));
    expect(good).toEqual({ frames: [FRAME], error: undefined });
    block.writeUInt32LE(length + 4, length - 4);
    const bad = await collectFrames(openCaptureFile('-', { stdin: Readable.from(pieces(block)) }));
    expect(bad.error).toMatchObject({
      message: expect.stringContaining(`length is ${length} at its start and ${length + 4} at its end`),
    });
    const cut = await collectFrames(
      openCaptureFile('-', { stdin: Readable.from(pieces(block.subarray(0, 2 ** 21)).slice(0, 2)) }),
    );
    expect(cut.error).toMatchObject({
      code: 'PW_CAPTURE_TRUNCATED',
      message: expect.stringContaining(`a block of ${length} bytes is cut short`),
    });
  });

  it('reads a packet whose block is longer than any packet, up to 16 MiB', async () => {
    for (const length of [1024 * 1024 + 4, 2 * 1024 * 1024, 16 * 1024 * 1024]) {
      const { frames, error } = await collectFrames(
        openCaptureFile('-', { stdin: Readable.from(pieces(blockWithComments(length))) }),
      );
      expect(error).toBeUndefined();
      // The packet of the long block, and the one behind it.
      expect(frames.map(({ hex, originalLength }) => [hex, originalLength])).toEqual([
        ['aabbccddee', 100],
        ['aabbccddee', 100],
      ]);
    }
    const { error } = await collectFrames(
      openCaptureFile('-', { stdin: Readable.from(pieces(blockWithComments(16 * 1024 * 1024 + 4))) }),
    );
    expect(error).toMatchObject({
      code: 'PW_CAPTURE_CORRUPT',
      message: expect.stringContaining('16777216 possible'),
    });
  });

  it('takes no memory for a block that only claims to be long', async () => {
    const claim = blockWithComments(16 * 1024 * 1024).subarray(0, 4096);
    const source = openCaptureFile('-', { stdin: Readable.from(pieces(claim).slice(0, 2)) });
    const before = process.memoryUsage().arrayBuffers;
    const { error } = await collectFrames(source);
    expect(error).toMatchObject({ code: 'PW_CAPTURE_TRUNCATED' });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4 * 1024 * 1024);
  });

  it.each([
    [
      'another version',
      [SECTION.replace('01 00 00 00', '02 00 00 00')],
      'PW_CAPTURE_UNSUPPORTED',
      'pcapng version 2.0 is not supported',
    ],
    [
      'a byte-order magic that is none',
      [SECTION.replace('4d 3c 2b 1a', '4d 3c 2b 1b')],
      'PW_CAPTURE_CORRUPT',
      'byte-order magic 4d3c2b1b instead of 1a2b3c4d',
    ],
    [
      'a packet of an unknown interface',
      [SECTION, ENHANCED_PACKET],
      'PW_CAPTURE_CORRUPT',
      'a packet is of interface 0, but the section has described 0 so far (at byte 28, after packet 0)',
    ],
    [
      'a packet longer than its block',
      [SECTION, INTERFACE, ENHANCED_PACKET.replace('05 00 00 00', '09 00 00 00')],
      'PW_CAPTURE_CORRUPT',
      'a packet claims 9 captured bytes, but its block has 8',
    ],
    [
      'a packet longer than any',
      [SECTION, INTERFACE, ENHANCED_PACKET.replace('05 00 00 00', '00 00 00 80')],
      'PW_CAPTURE_CORRUPT',
      'a packet claims 2147483648 captured bytes, more than the 262144 possible',
    ],
    [
      'a packet block too short for its fields',
      [SECTION, INTERFACE, '06 00 00 00 10 00 00 00 00 00 00 00 10 00 00 00'],
      'PW_CAPTURE_CORRUPT',
      'a packet block has 16 bytes, less than the 32 needed',
    ],
    [
      'a block of length 0',
      [SECTION, '05 00 00 00 00 00 00 00 00 00 00 00'],
      'PW_CAPTURE_CORRUPT',
      'a block claims a length of 0: it must be a multiple of 4, at least 12',
    ],
    [
      'a block of an odd length',
      [SECTION, '05 00 00 00 0d 00 00 00 00 00 00 00'],
      'PW_CAPTURE_CORRUPT',
      'a block claims a length of 13',
    ],
    [
      'a packet block of an absurd length',
      [SECTION, INTERFACE, '06 00 00 00 f0 ff ff 7f 00 00 00 00'],
      'PW_CAPTURE_CORRUPT',
      'a block claims 2147483632 bytes, more than the 16777216 possible',
    ],
    [
      'two lengths that differ',
      [SECTION, INTERFACE.replace(/14 00 00 00$/, '18 00 00 00')],
      'PW_CAPTURE_CORRUPT',
      "a block's length is 20 at its start and 24 at its end",
    ],
    [
      'an option longer than its block',
      [SECTION, NAMED_INTERFACE.replace('02 00 04 00', '02 00 ff 00')],
      'PW_CAPTURE_CORRUPT',
      'option 2 claims 255 bytes, but its block has 28 left',
    ],
    [
      'a cut block',
      [SECTION, INTERFACE, ENHANCED_PACKET.slice(0, -3)],
      'PW_CAPTURE_TRUNCATED',
      'a block is cut short: 40 bytes expected, 39 there (at byte 48, after packet 0)',
    ],
    [
      'a cut block header',
      [SECTION, '06 00 00 00'],
      'PW_CAPTURE_TRUNCATED',
      'a block is cut short: at least 12 bytes expected, 4 there',
    ],
  ])('with %s is refused', async (_name, blocks, code, message) => {
    const { error } = await read(...blocks);
    expect(error).toMatchObject({ code, message: expect.stringContaining(message) });
  });
});

/** A capture with one long block between its interface and its packet. */
function pieces(long: Buffer): Buffer[] {
  return [Buffer.from(bytesOf(`${SECTION} ${INTERFACE}`)), long, Buffer.from(bytesOf(ENHANCED_PACKET))];
}

/** The enhanced packet with so many comments behind it that the block has this length, a multiple of 4. */
function blockWithComments(length: number): Buffer {
  const block = Buffer.alloc(length);
  const packet = bytesOf(ENHANCED_PACKET);
  block.set(packet.subarray(0, -4));
  for (const position of [4, length - 4]) block.writeUInt32LE(length, position);
  let position = packet.length - 4;
  for (let rest = length - 4 - position; rest >= 4; rest = length - 4 - position) {
    const size = Math.min(rest - 4, 65_532);
    block.writeUInt16LE(1, position);
    block.writeUInt16LE(size, position + 2);
    position += 4 + size;
  }
  return block;
}

/** A little-endian block of this type with 4 bytes in it. */
function emptyBlock(type: string): string {
  return `${type}  10 00 00 00  00 00 00 00  10 00 00 00`;
}
