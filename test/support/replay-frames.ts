/** Frames on a link, sent by tcpreplay. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { NamespaceLink } from './netns.ts';
import { pcapFile } from './pcap-bytes.ts';

/** Sends frames from the far end of the link, or another interface of its namespace (`--intf1`). */
export async function replay(
  link: NamespaceLink,
  frames: readonly Uint8Array[],
  ...options: string[]
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-kernel-'));
  try {
    const file = join(folder, 'frames.pcap');
    await writeFile(file, pcapFile(frames));
    const speed = options.includes('--pps') ? [] : ['--topspeed'];
    const device = options.includes('--intf1') ? [] : ['--intf1', 'far0'];
    const words = [
      'netns',
      'exec',
      link.namespace,
      'tcpreplay',
      '-q',
      '--preload-pcap',
      ...device,
      ...speed,
      ...options,
      file,
    ];
    await promisify(execFile)('ip', words);
  } finally {
    await rm(folder, { recursive: true });
  }
}
