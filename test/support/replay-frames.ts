/** Frames on a link, sent by tcpreplay. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { pcapFile } from './pcap-bytes.ts';

/**
 * Sends frames from the far end of the link, or another interface of its namespace (`--intf1`); without a namespace of
 * one here.
 */
export async function replay(
  link: { readonly namespace: string | undefined },
  frames: readonly Uint8Array[],
  ...options: string[]
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-kernel-'));
  try {
    const file = join(folder, 'frames.pcap');
    await writeFile(file, pcapFile(frames));
    const speed = options.includes('--pps') ? [] : ['--topspeed'];
    const device = options.includes('--intf1') ? [] : ['--intf1', 'far0'];
    const words = ['-q', '--preload-pcap', ...device, ...speed, ...options, file];
    const within = link.namespace === undefined ? [] : ['ip', 'netns', 'exec', link.namespace];
    const [program = '', ...rest] = [...within, 'tcpreplay', ...words];
    await promisify(execFile)(program, rest);
  } finally {
    await rm(folder, { recursive: true });
  }
}
