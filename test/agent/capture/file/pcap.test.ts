import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { openCaptureFile } from '../../../../agent/capture/file/open.ts';
import { collectFrames, type CapturedRun } from '../../../support/frames.ts';
import { bytesOf } from '../../../support/packet-bytes.ts';

function read(hex: string): Promise<CapturedRun> {
  return collectFrames(openCaptureFile('-', { stdin: Readable.from([Buffer.from(bytesOf(hex))]) }));
}

/** Version 2.4, zone and accuracy 0, snap length 65535, link type; after the magic number. */
const BIG = (linkType = '00 00 00 01') => `00 02 00 04  00 00 00 00  00 00 00 00  00 00 ff ff  ${linkType}`;
const LITTLE = (version = '02 00 04 00') => `${version}  00 00 00 00  00 00 00 00  ff ff 00 00  01 00 00 00`;
/** Second 0x10, fraction 0x20, three bytes captured of five. */
const BIG_RECORD = '00 00 00 10  00 00 00 20  00 00 00 03  00 00 00 05';
const LITTLE_RECORD = '10 00 00 00  20 00 00 00  03 00 00 00  05 00 00 00';
const DATA = 'aa bb cc';

describe('a classic capture', () => {
  it.each([
    ['microseconds, big-endian', `a1 b2 c3 d4 ${BIG()} ${BIG_RECORD} ${DATA}`, 32_000],
    ['microseconds, little-endian', `d4 c3 b2 a1 ${LITTLE()} ${LITTLE_RECORD} ${DATA}`, 32_000],
    ['nanoseconds, big-endian', `a1 b2 3c 4d ${BIG()} ${BIG_RECORD} ${DATA}`, 32],
    ['nanoseconds, little-endian', `4d 3c b2 a1 ${LITTLE()} ${LITTLE_RECORD} ${DATA}`, 32],
    [
      'longer record headers, big-endian',
      `a1 b2 cd 34 ${BIG()} ${BIG_RECORD} 00 00 00 02 08 00 00 00 ${DATA}`,
      32_000,
    ],
    [
      'longer record headers, little-endian',
      `34 cd b2 a1 ${LITTLE()} ${LITTLE_RECORD} 02 00 00 00 00 08 00 00 ${DATA}`,
      32_000,
    ],
  ])('with %s is read', async (_name, hex, nanoseconds) => {
    const { frames, error } = await read(hex);
    expect(error).toBeUndefined();
    expect(frames).toEqual([
      { seconds: 16, nanoseconds, originalLength: 5, linkType: 1, interfaceIndex: 0, hex: 'aabbcc' },
    ]);
  });

  it('with nothing but its header has no packets', async () => {
    expect(await read(`d4 c3 b2 a1 ${LITTLE()}`)).toEqual({ frames: [], error: undefined });
  });

  it('that tells of frame check sequences beside its link type has the link type', async () => {
    const { frames } = await read(`a1 b2 c3 d4 ${BIG('14 00 00 71')} ${BIG_RECORD} ${DATA}`);
    expect(frames[0]?.linkType).toBe(113);
  });

  it('carries a fraction of more than a second over into the seconds', async () => {
    const record = LITTLE_RECORD.replace('20 00 00 00', '80 96 98 00');
    const { frames } = await read(`d4 c3 b2 a1 ${LITTLE()} ${record} ${DATA}`);
    expect([frames[0]?.seconds, frames[0]?.nanoseconds]).toEqual([26, 0]);
  });

  it.each([
    ['2.2, whose lengths stand the other way round', '02 00 02 00', '05 00 00 00  03 00 00 00'],
    ['2.3, whose lengths may', '02 00 03 00', '05 00 00 00  03 00 00 00'],
    ['2.3, whose lengths need not', '02 00 03 00', '03 00 00 00  05 00 00 00'],
  ])('of version %s, is read', async (_name, version, lengths) => {
    const { frames } = await read(
      `d4 c3 b2 a1 ${LITTLE(version)} 10 00 00 00 20 00 00 00 ${lengths} ${DATA}`,
    );
    expect(frames).toMatchObject([{ originalLength: 5, hex: 'aabbcc' }]);
  });

  it.each([
    ['1.0', '01 00 00 00', 'pcap version 1.0 is not supported'],
    ['2.5', '02 00 05 00', 'pcap version 2.5 is not supported'],
  ])('of version %s is refused', async (_name, version, message) => {
    const { error } = await read(`d4 c3 b2 a1 ${LITTLE(version)}`);
    expect(error).toMatchObject({
      code: 'PW_CAPTURE_UNSUPPORTED',
      message: expect.stringContaining(message),
    });
  });
});
