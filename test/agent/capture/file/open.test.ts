import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import * as zlib from 'node:zlib';
import * as fc from 'fast-check';
import { parse as parseIndependently } from 'pcap-parser';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCaptureFile } from '../../../../agent/capture/file/open.ts';
import { PlasmawatchError } from '../../../../common/errors.ts';
import { corpusEntries, corpusPath } from '../../../support/corpus.ts';
import { collectFrames, readFrames, type CapturedRun } from '../../../support/frames.ts';
import { bytesOf } from '../../../support/packet-bytes.ts';
import { pcapFile, tcpFrame } from '../../../support/pcap-bytes.ts';
import { SECTION, INTERFACE, ENHANCED_PACKET } from '../../../support/pcapng-bytes.ts';

const { gzipSync } = zlib;
/** Node has it from 22.15 on. */
const { zstdCompressSync } = zlib as { zstdCompressSync?: (bytes: Uint8Array) => Uint8Array };

const FRAMES = [100, 1400, 0, 60, 9000].map((payload, index) =>
  tcpFrame({ from: '10.0.0.1:1', to: '10.0.0.2:2', flags: 'A', sequence: index, payload }),
);
const PCAP = pcapFile(FRAMES);
const PCAPNG = bytesOf([SECTION, INTERFACE, ENHANCED_PACKET, ENHANCED_PACKET].join(' '));

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'plasmawatch-capture-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function file(bytes: Uint8Array): string {
  const path = join(folder, 'capture');
  writeFileSync(path, bytes);
  return path;
}

/** Reads bytes as standard input that arrives in pieces cut at these places. */
function readPieces(bytes: Uint8Array, cuts: readonly number[]): Promise<CapturedRun> {
  const places = [0, ...cuts.map((cut) => cut % bytes.length).toSorted((a, b) => a - b), bytes.length];
  const pieces = places.slice(1).map((end, index) => Buffer.from(bytes.subarray(places[index], end)));
  const stdin = Readable.from(pieces.filter((piece) => piece.length > 0));
  return collectFrames(openCaptureFile('-', { stdin }));
}

describe('a capture file', () => {
  it('delivers every frame with its time, lengths and bytes', async () => {
    const { frames, error } = await collectFrames(openCaptureFile(file(PCAP)));
    expect(error).toBeUndefined();
    expect(frames).toEqual(
      FRAMES.map((frame, index) => ({
        seconds: 1_700_000_000 + index,
        nanoseconds: 0,
        originalLength: frame.length,
        linkType: 1,
        interfaceIndex: 0,
        hex: Buffer.from(frame).toString('hex'),
      })),
    );
  });

  it.each([
    ['pcap', PCAP],
    ['pcapng', PCAPNG],
    ['pcap packed with gzip', gzipSync(PCAP)],
    ['pcapng packed with gzip', gzipSync(PCAPNG)],
  ])('gives the same frames of %s however it is cut into pieces', async (_name, bytes) => {
    const expected = await collectFrames(openCaptureFile(file(bytes)));
    expect(expected.frames.length).toBeGreaterThan(0);
    const everyByte = Array.from({ length: Math.min(bytes.length, 400) }, (_, index) => index);
    expect(await readPieces(bytes, everyByte)).toEqual(expected);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(), { maxLength: 10 }), async (cuts) => {
        expect(await readPieces(bytes, cuts)).toEqual(expected);
      }),
      { numRuns: 50 },
    );
  });

  it('reads a file of many times the size of its buffer', async () => {
    const big = Array.from({ length: 200 }, () => new Uint8Array(60_000));
    let packets = 0;
    const source = openCaptureFile(file(pcapFile(big)));
    const error = await readFrames(source, (frame) => {
      packets++;
      if (frame.seconds !== 1_700_000_000 + packets - 1) throw new Error(`packet ${packets} is another`);
    });
    expect([error, packets, source.counters()]).toEqual([
      undefined,
      200,
      { received: 200, dropped: null, overflowed: 0 },
    ]);
  });

  it('reads gzip files that were put one after the other', async () => {
    const half = 1000;
    const bytes = Buffer.concat([gzipSync(PCAP.subarray(0, half)), gzipSync(PCAP.subarray(half))]);
    expect((await collectFrames(openCaptureFile(file(bytes)))).frames).toHaveLength(FRAMES.length);
  });

  it('tells the sink where a block of frames ends', async () => {
    const calls: string[] = [];
    await openCaptureFile(file(PCAP)).run({
      frame: () => calls.push('frame'),
      counts: () => calls.push('counts'),
      blockEnd: () => calls.push('end'),
    });
    expect(calls).toEqual([...FRAMES.map(() => 'frame'), 'end']);
  });

  it('ends soon when it is stopped while it waits for standard input', async () => {
    const stdin = new PassThrough();
    stdin.write(PCAP);
    const source = openCaptureFile('-', { stdin });
    let packets = 0;
    const firstBlock = new PassThrough();
    const run = source.run({
      frame: () => packets++,
      counts: () => {},
      blockEnd: () => void firstBlock.end(),
    });
    await once(firstBlock.resume(), 'end');
    source.stop();
    source.stop();
    await run;
    expect(packets).toBe(FRAMES.length);
    expect(stdin.listenerCount('readable')).toBe(0);
  });

  it('passes on what the sink throws: it is no fault of the file', async () => {
    const mistake = new Error('a mistake of ours');
    const error = await readFrames(openCaptureFile(file(PCAP)), () => {
      throw mistake;
    });
    expect(error).toBe(mistake);
  });
});

// Either this Node reads it, or it says so: one of the two has a case.
describe.each(zstdCompressSync === undefined ? ['28 b5 2f fd 00'] : [])(
  'a file packed with zstd, before Node 22.15',
  (hex) => {
    it('is told to be unpacked first', async () => {
      const path = file(bytesOf(hex));
      const { error } = await collectFrames(openCaptureFile(path));
      expect(error).toMatchObject({
        code: 'PW_CAPTURE_UNSUPPORTED',
        message: `${path}: the file is packed with zstd: unpack it first (Node 22.15 and later read it as it is)`,
      });
    });
  },
);
describe.each(zstdCompressSync === undefined ? [] : [zstdCompressSync])('a file packed with zstd', (pack) => {
  it('gives the same frames however it is cut into pieces', async () => {
    const expected = await collectFrames(openCaptureFile(file(PCAP)));
    const bytes = pack(PCAP);
    expect(await readPieces(bytes, [])).toEqual(expected);
    const everyByte = Array.from({ length: Math.min(bytes.length, 400) }, (_, index) => index);
    expect(await readPieces(bytes, everyByte)).toEqual(expected);
  });

  it('may have several frames', async () => {
    const bytes = Buffer.concat([pack(PCAP.subarray(0, 1000)), pack(PCAP.subarray(1000))]);
    expect((await collectFrames(openCaptureFile(file(bytes)))).frames).toHaveLength(FRAMES.length);
    expect((await readPieces(bytes, [10, 500, 700])).frames).toHaveLength(FRAMES.length);
  });

  it('is told where it is cut, after what comes before', async () => {
    const noise = Uint8Array.from({ length: 60_000 }, (_, index) => (index * 2_654_435_761) >>> 13);
    const bytes = pack(pcapFile(Array.from({ length: 50 }, () => noise)));
    const path = file(bytes.subarray(0, bytes.length - 10));
    const { error } = await collectFrames(openCaptureFile(path));
    expect(error).toMatchObject({
      code: 'PW_CAPTURE_TRUNCATED',
      message: expect.stringContaining('the zstd file is cut short'),
    });
  });

  it('is told when it is damaged', async () => {
    const bytes = Buffer.concat([pack(PCAP), Buffer.from('no zstd')]);
    const { frames, error } = await collectFrames(openCaptureFile(file(bytes)));
    expect(frames).toHaveLength(FRAMES.length);
    expect(error).toMatchObject({ code: 'PW_CAPTURE_CORRUPT' });
  });
});

describe('a file that unpacks to much more than it is', () => {
  const zeros = pcapFile(Array.from({ length: 1500 }, () => new Uint8Array(60_000)));
  it.each([
    ['gzip', gzipSync],
    ...(zstdCompressSync === undefined ? [] : ([['zstd', zstdCompressSync]] as const)),
  ] as const)('is read to its end: %s', async (_name, pack) => {
    let packets = 0;
    const error = await readFrames(openCaptureFile(file(pack(zeros))), () => packets++);
    expect([error, packets]).toEqual([undefined, 1500]);
  });
});

describe('a faulty capture file', () => {
  const mad = PCAP.slice();
  new DataView(mad.buffer).setUint32(24 + 16 + 154 + 8, 999_999, true);
  const damaged = gzipSync(PCAP, { level: 0 });
  damaged[damaged.length - 8] = (damaged.at(-8) ?? 0) ^ 0xff;
  it.each([
    ['an empty file', new Uint8Array(0), 'PW_NOT_A_CAPTURE', 0, 'the file is empty'],
    [
      'three bytes',
      bytesOf('d4 c3 b2'),
      'PW_NOT_A_CAPTURE',
      0,
      'not a capture file: it has 3 of the first 4 bytes',
    ],
    [
      'text',
      new TextEncoder().encode('hello'),
      'PW_NOT_A_CAPTURE',
      0,
      'neither pcap nor pcapng: it begins with 68656c6c',
    ],
    ['an empty gzip file', gzipSync(new Uint8Array(0)), 'PW_NOT_A_CAPTURE', 0, 'the file is empty'],
    [
      'a file packed with bzip2',
      bytesOf('42 5a 68 39 31'),
      'PW_CAPTURE_UNSUPPORTED',
      0,
      'the file is packed with bzip2: unpack it first (gzip is read as it is)',
    ],
    [
      'a pcap header cut',
      PCAP.slice(0, 23),
      'PW_CAPTURE_TRUNCATED',
      0,
      'the file header is cut short: 24 bytes expected, 23 there (at byte 0, after packet 0)',
    ],
    [
      'a packet header cut',
      PCAP.slice(0, 24 + 15),
      'PW_CAPTURE_TRUNCATED',
      0,
      'a packet header is cut short: 16 bytes expected, 15 there (at byte 24, after packet 0)',
    ],
    [
      'a packet cut',
      PCAP.slice(0, 24 + 170 + 16 + 1000),
      'PW_CAPTURE_TRUNCATED',
      1,
      'a packet is cut short: 1454 bytes expected, 1000 there (at byte 194, after packet 1)',
    ],
    [
      'an absurd length',
      mad,
      'PW_CAPTURE_CORRUPT',
      1,
      'a packet claims 999999 captured bytes, more than the 262144 possible (at byte 194, after packet 1)',
    ],
    [
      'a gzip file cut',
      gzipSync(PCAP, { level: 0 }).subarray(0, 1500),
      'PW_CAPTURE_TRUNCATED',
      1,
      'the gzip file is cut short (after packet 1)',
    ],
  ])(
    '%s: delivers what comes before and says what is wrong',
    async (_name, bytes, code, packets, message) => {
      const path = file(bytes);
      const { frames, error } = await collectFrames(openCaptureFile(path));
      expect(error).toBeInstanceOf(PlasmawatchError);
      expect(error).toMatchObject({ code, message: `${path}: ${message}`, subject: path, operation: 'read' });
      expect(frames).toHaveLength(packets);
    },
  );

  it('says that a gzip file fails its check', async () => {
    const { error } = await collectFrames(openCaptureFile(file(damaged)));
    expect(error).toMatchObject({
      code: 'PW_CAPTURE_CORRUPT',
      message: expect.stringContaining('incorrect data check'),
    });
  });

  it.each([
    ['is missing', () => join(folder, 'absent'), 'no such file'],
    ['is a folder', () => folder, 'is a directory, not a file'],
  ])('that %s is unreadable', async (_name, path, reason) => {
    const { error } = await collectFrames(openCaptureFile(path()));
    expect(error).toMatchObject({ code: 'PW_FILE_UNREADABLE', message: `${path()}: ${reason}` });
  });

  it('is answered with an error or with frames, whatever byte of it is changed', async () => {
    const position = fc.nat(PCAPNG.length - 1);
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(PCAP, PCAPNG), position, fc.nat(255), async (bytes, at, value) => {
        const changed = bytes.slice();
        changed[at] = value;
        const { frames, error } = await collectFrames(
          openCaptureFile('-', { stdin: Readable.from([Buffer.from(changed)]) }),
        );
        expect(error === undefined || error instanceof PlasmawatchError).toBe(true);
        for (const { hex } of frames) expect(hex.length / 2).toBeLessThanOrEqual(bytes.length);
      }),
      { numRuns: 300 },
    );
  });
});

const classic = corpusEntries().filter(
  ({ path, kinds }) =>
    path.endsWith('.pcap') && !['broken', 'magic', 'pcapng'].some((kind) => kinds.includes(kind)),
);

describe.skipIf(classic.length === 0)(
  'a classic capture by others (skipped without ../shared/corpus)',
  () => {
    it.each(classic)('is read as the npm package pcap-parser reads it: $path', async (entry) => {
      const { frames } = await collectFrames(openCaptureFile(corpusPath(entry)));
      expect(
        frames.map(({ seconds, nanoseconds, originalLength, hex }) => [
          seconds,
          nanoseconds / 1000,
          originalLength,
          hex,
        ]),
      ).toEqual(await readIndependently(corpusPath(entry)));
    });
  },
);

async function readIndependently(path: string): Promise<unknown[]> {
  const packets: unknown[] = [];
  const parser = parseIndependently(path);
  parser.on('packet', ({ header, data }) => {
    packets.push([
      header.timestampSeconds,
      header.timestampMicroseconds,
      header.originalLength,
      data.toString('hex'),
    ]);
  });
  await once(parser, 'end');
  return packets;
}
