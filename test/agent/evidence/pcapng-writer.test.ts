import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCaptureFile } from '../../../agent/capture/file/open.ts';
import type { Frame } from '../../../agent/capture/source.ts';
import { PcapngWriter } from '../../../agent/evidence/pcapng-writer.ts';
import { collectFrames } from '../../support/frames.ts';
import { bytesOf, ETHERNET_FRAME, frameOf, IPV4_PACKET } from '../../support/packet-bytes.ts';

const ETHERNET = 1;
const RAW_IP = 101;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plasmawatch-evidence-'));
});
afterAll(() => rm(folder, { recursive: true }));

function frameAt(hex: string, fields: Partial<Frame>): Frame {
  return Object.assign(frameOf(hex, { linkType: ETHERNET }), fields);
}

function writeTwo(): PcapngWriter {
  const writer = new PcapngWriter({
    application: 'plasmawatch 1.2.3',
    comment: 'anomaly 7 on w1',
    interfaceName: (index) => (index === 4 ? 'eth0' : undefined),
  });
  const time = { seconds: 1_790_000_000, nanoseconds: 123_456_789 };
  writer.add(
    frameAt(ETHERNET_FRAME, { ...time, interfaceIndex: 4, originalLength: 1514 }),
    bytesOf(ETHERNET_FRAME),
  );
  writer.add(
    frameAt(IPV4_PACKET, { ...time, interfaceIndex: 4, linkType: RAW_IP }),
    bytesOf(IPV4_PACKET).subarray(0, 21),
  );
  return writer;
}

describe('a written pcapng section', () => {
  it('reads back as it was written: bytes, lengths, times, link types', async () => {
    const path = join(folder, 'two.pcapng');
    await writeFile(path, writeTwo().bytes());
    const { frames, error } = await collectFrames(openCaptureFile(path));
    expect(error).toBeUndefined();
    expect(frames).toEqual([
      {
        seconds: 1_790_000_000,
        nanoseconds: 123_456_789,
        originalLength: 1514,
        linkType: ETHERNET,
        interfaceIndex: 0,
        hex: Buffer.from(bytesOf(ETHERNET_FRAME)).toString('hex'),
      },
      {
        seconds: 1_790_000_000,
        nanoseconds: 123_456_789,
        originalLength: 40,
        linkType: RAW_IP,
        interfaceIndex: 1,
        hex: Buffer.from(bytesOf(IPV4_PACKET).subarray(0, 21)).toString('hex'),
      },
    ]);
  });

  it('tells tshark the connection, and capinfos the interface and the comment', async () => {
    const path = join(folder, 'tshark.pcapng');
    await writeFile(path, writeTwo().bytes());
    const fields = ['-e', 'frame.len', '-e', 'frame.interface_name', '-e', 'tcp.dstport'];
    const rows = execFileSync('tshark', ['-r', path, '-T', 'fields', ...fields], { encoding: 'utf8' });
    expect(rows.split('\n')[0]).toBe('1514\teth0\t43800');
    expect(execFileSync('capinfos', ['-k', path], { encoding: 'utf8' })).toContain('anomaly 7 on w1');
  });

  it('is one file with another section behind it', async () => {
    const path = join(folder, 'both.pcapng');
    await writeFile(path, Buffer.concat([writeTwo().bytes(), writeTwo().bytes()]));
    const { frames, error } = await collectFrames(openCaptureFile(path));
    expect(error).toBeUndefined();
    expect(frames).toHaveLength(4);
  });
});
