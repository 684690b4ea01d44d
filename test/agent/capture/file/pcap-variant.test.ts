import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { openCaptureFile } from '../../../../agent/capture/file/open.ts';
import { collectFrames, type CapturedRun } from '../../../support/frames.ts';

const START = 940_000_000;
/** Frames of three lengths, the first two with addresses of zeros as on loopback. */
const FRAMES = [
  '000000000000 000000000000 0800 45',
  '000000000000 000000000000 0800 4500',
  '0000c0010203 0000c0040506 0806 00',
].map((hex) => Buffer.from(hex.replaceAll(' ', ''), 'hex'));
/** Interface 2, IPv4, to us; of the patch between with two processors and a filling. */
const ADDED = { 16: '', 20: 'deadbeef', 24: '0200000000080000', 28: '020000000008000101000000' } as const;
type HeaderLength = keyof typeof ADDED;

interface FileOptions {
  readonly magic?: number;
  readonly version?: readonly [number, number];
  readonly linkType?: number;
  readonly isLittleEndian?: boolean;
  readonly fraction?: number;
  readonly areSwapped?: boolean;
}

function fileOf(
  headerLength: HeaderLength,
  frames: readonly Buffer[] = FRAMES,
  {
    magic = 0xa1b2c3d4,
    version = [2, 4],
    linkType = 1,
    isLittleEndian = true,
    fraction = 345_678,
    areSwapped = false,
  }: FileOptions = {},
): Buffer {
  const u32 = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    if (isLittleEndian) bytes.writeUInt32LE(value);
    else bytes.writeUInt32BE(value);
    return bytes;
  };
  const u16 = (value: number): Buffer =>
    isLittleEndian ? u32(value).subarray(0, 2) : u32(value).subarray(2);
  const added = Buffer.from(ADDED[headerLength], 'hex');
  // The number of the interface is in the file's byte order, the protocol in that of the network.
  if (headerLength >= 24) added.set(u32(2));
  const records = frames.flatMap((frame, index) => {
    const [first, second] = areSwapped
      ? [frame.length + 40, frame.length]
      : [frame.length, frame.length + 40];
    return [u32(START + index), u32(fraction), u32(first), u32(second), added, frame];
  });
  return Buffer.concat([
    u32(magic),
    u16(version[0]),
    u16(version[1]),
    u32(0),
    u32(0),
    u32(65_535),
    u32(linkType),
    ...records,
  ]);
}

/** @param pieceLength how many bytes come at a time */
function read(bytes: Buffer, pieceLength = bytes.length): Promise<CapturedRun> {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += pieceLength) pieces.push(bytes.subarray(at, at + pieceLength));
  return collectFrames(openCaptureFile('-', { stdin: Readable.from(pieces) }));
}

const expectedOf = (frames: readonly Buffer[]) =>
  frames.map((frame, index) => ({
    seconds: START + index,
    nanoseconds: 345_678_000,
    originalLength: frame.length + 40,
    hex: frame.toString('hex'),
  }));

const VARIANTS: readonly (readonly [string, HeaderLength, FileOptions])[] = [
  ['the standard', 16, {}],
  ['Red Hat 6.1 (ss990417)', 24, {}],
  ['Nokia', 20, {}],
  ['SuSE 6.3 (ss990915)', 28, { magic: 0xa1b2cd34 }],
  ['ss991029', 24, { magic: 0xa1b2cd34 }],
];

describe('a relative of the classic format', () => {
  describe.each(VARIANTS)('%s', (_name, headerLength, options) => {
    it.each([true, false])('is read in either byte order: little-endian %s', async (isLittleEndian) => {
      const bytes = fileOf(headerLength, FRAMES, { ...options, isLittleEndian });
      // In pieces that end with a packet, Nokia's first one looks like a packet of the standard.
      for (const pieceLength of headerLength === 20 ? [7, bytes.length] : [1, 7, bytes.length]) {
        const { frames, error } = await read(bytes, pieceLength);
        expect(error).toBeUndefined();
        expect(frames).toMatchObject(expectedOf(FRAMES));
        expect(frames).toHaveLength(FRAMES.length);
      }
    });

    it('says that it is cut short, after all packets before the cut', async () => {
      const bytes = fileOf(headerLength, [...FRAMES, ...FRAMES], options);
      const { frames, error } = await read(bytes.subarray(0, bytes.length - 3));
      expect(error).toMatchObject({ code: 'PW_CAPTURE_TRUNCATED' });
      expect(frames).toHaveLength(2 * FRAMES.length - 1);
    });
  });

  it.each(VARIANTS.filter(([name]) => name !== 'Nokia'))(
    'with a single packet is read: %s',
    async (_name, headerLength, options) => {
      for (const [first] of FRAMES.map((frame) => [frame])) {
        if (first === undefined) continue;
        const { frames, error } = await read(fileOf(headerLength, [first], options));
        expect(error).toBeUndefined();
        expect(frames).toMatchObject(expectedOf([first]));
      }
    },
  );

  it('is never suspected in a standard file that is cut anywhere', async () => {
    const bytes = fileOf(16);
    const ends = [40 + 15, 40 + 15 + 16 + 16];
    for (let length = 24; length < bytes.length; length++) {
      const { frames } = await read(bytes.subarray(0, length));
      const whole = ends.filter((end) => end <= length).length;
      expect(frames).toMatchObject(expectedOf(FRAMES.slice(0, whole)));
      expect(frames).toHaveLength(whole);
    }
  });

  it.each([
    ['Ethernet', 6, 1],
    ['token ring, which is named by its link type', 9, 6],
    ['loopback', 24, 0],
  ])('of AIX has nanoseconds and types of interfaces: %s', async (_name, linkType, expected) => {
    const { frames, error } = await read(
      fileOf(16, FRAMES, { version: [2, 2], linkType, isLittleEndian: false }),
    );
    expect(error).toBeUndefined();
    expect(frames).toHaveLength(FRAMES.length);
    expect(frames[0]).toMatchObject({ linkType: expected, nanoseconds: 345_678, originalLength: 15 + 40 });
  });

  it('of AIX may have either order of the lengths', async () => {
    const options = { version: [2, 2], linkType: 6, areSwapped: true } as const;
    expect((await read(fileOf(16, FRAMES, options))).frames.map(({ hex }) => hex)).toEqual(
      FRAMES.map((frame) => frame.toString('hex')),
    );
  });

  it('of AIX has three bytes before each FDDI frame', async () => {
    const padded = FRAMES.map((frame) => Buffer.concat([Buffer.from('eeeeee', 'hex'), frame]));
    const { frames } = await read(fileOf(16, padded, { version: [2, 2], linkType: 15 }));
    expect(frames.map(({ hex, linkType }) => [hex, linkType])).toEqual(
      FRAMES.map((frame) => [frame.toString('hex'), 10]),
    );
    const { error } = await read(fileOf(16, [Buffer.from('ee', 'hex')], { version: [2, 2], linkType: 15 }));
    expect(error).toMatchObject({ code: 'PW_CAPTURE_CORRUPT' });
  });

  it('of version 2.2 with a link type of libpcap is none of AIX', async () => {
    const { frames } = await read(fileOf(16, FRAMES, { version: [2, 2], linkType: 1, areSwapped: true }));
    expect(frames).toMatchObject(expectedOf(FRAMES));
  });

  it('of DG/UX has the older order of the lengths', async () => {
    const { frames, error } = await read(fileOf(16, FRAMES, { version: [543, 0], areSwapped: true }));
    expect(error).toBeUndefined();
    expect(frames).toMatchObject(expectedOf(FRAMES));
  });

  it.each([
    ["AIX's iptrace", 'iptrace 2.0'],
    ["Solaris' snoop", 'snoop\0\0\0'],
    ["HP-UX's nettl", 'TR\0d\0\0'],
    ["Microsoft's Network Monitor", 'GMBU\0\0'],
    ["Network General's Sniffer", 'TRSNIFF data'],
    ['NetXRay', 'XCP\0'],
    ["Ixia's lcap", '\u001c\0\u0001\u00ac'],
    ["Ixia's lcap", '\u00ab\u0001\0\u001c'],
  ])('is no capture of %s, which is called by its name', async (name, start) => {
    const { error } = await read(Buffer.concat([Buffer.from(start, 'latin1'), Buffer.alloc(40)]));
    expect(error).toMatchObject({
      code: 'PW_CAPTURE_UNSUPPORTED',
      message: expect.stringContaining(`a capture of ${name}: convert it`),
    });
  });
});
