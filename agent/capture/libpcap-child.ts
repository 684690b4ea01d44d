// oxlint-disable-next-line typescript/triple-slash-reference -- an ambient module cannot be imported
/// <reference path="./cap.d.ts" />
/**
 * The process that runs the npm package `cap` for libpcap.ts: the package ends its process when an interface goes down
 * (an assertion in its native part), and keeps the event loop busy while packets come.
 *
 * Writing to the pipe waits until the parent has read, so that what is under way has a bound: behind it the kernel drops.
 */
import { writeSync } from 'node:fs';
import type * as CapPackage from 'cap';
import { messageOf } from '../../common/errors.ts';
import { DATA_FD, type OpenAnswer, type OpenRequest, RECORD, type Request } from './libpcap-protocol.ts';

/** Kernel memory for packets that wait. */
const KERNEL_BUFFER_BYTES = 32 * 1024 * 1024;
/** Longer than the package's snaplen of 65,535 bytes, so that no packet is cut for want of room. */
const PACKET_BUFFER_BYTES = 128 * 1024;
/** What is handed on of a packet: headers, and the start of the payload. */
const KEPT_BYTES = 544;
/** Packets are handed on when so many bytes or so much time have come together. */
const BLOCK_BYTES = 64 * 1024;
const BLOCK_MS = 40;

/**
 * Every handle that was made, for ever: the package leaves its handle in the event loop's list when it is closed, and
 * closes one that it never opened when it is collected; both end in freed memory. A few hundred bytes each.
 */
const handles = new Set<CapPackage.Cap>();
const packet = Buffer.alloc(PACKET_BUFFER_BYTES);
const block = Buffer.alloc(BLOCK_BYTES);
let blockLength = 0;
let current: CapPackage.Cap | undefined;

process.on('message', (request: Request) => {
  if (request === 'stop') stop();
  else void answer(request).then((message) => process.send?.(message));
});
process.on('disconnect', stop);
// Of a terminal, and of `systemctl kill`, they come to the whole group: when this process ends, its parent says.
for (const signal of ['SIGHUP', 'SIGINT'] as const) process.on(signal, () => {});
setInterval(writeBlock, BLOCK_MS);

async function answer({ device, filter }: OpenRequest): Promise<OpenAnswer> {
  let cap: typeof CapPackage;
  try {
    // CommonJS: what the package exports is its default, and its names are not seen from here.
    ({ default: cap } = (await import('cap')) as unknown as { default: typeof CapPackage });
  } catch (error) {
    return { error: messageOf(error), isPackageMissing: true };
  }
  try {
    return { linkType: open(new cap.Cap(), device, filter) };
  } catch (error) {
    return { error: messageOf(error), isPackageMissing: false };
  }
}

/** The package cannot swap a filter: another handle is opened first, then the one before closed with what it held. */
function open(cap: CapPackage.Cap, device: string, filter: string): string {
  handles.add(cap);
  const linkType = cap.open(device, filter, KERNEL_BUFFER_BYTES, packet);
  current?.removeAllListeners().close();
  current = cap;
  cap.on('packet', add);
  return linkType;
}

function stop(): void {
  current?.close();
  writeBlock();
  process.exit(0);
}

function add(length: number, isTruncated: boolean): void {
  const captured = Math.min(length, KEPT_BYTES);
  if (blockLength + RECORD.length + captured > BLOCK_BYTES) writeBlock();
  const now = Date.now();
  block.writeUInt32LE(captured, blockLength + RECORD.captured);
  // How long a cut packet was is not told: one byte more at the least.
  block.writeUInt32LE(isTruncated ? length + 1 : length, blockLength + RECORD.original);
  block.writeUInt32LE(Math.floor(now / 1000), blockLength + RECORD.seconds);
  block.writeUInt32LE((now % 1000) * 1_000_000, blockLength + RECORD.nanoseconds);
  packet.copy(block, blockLength + RECORD.length, 0, captured);
  blockLength += RECORD.length + captured;
}

function writeBlock(): void {
  try {
    for (let written = 0; written < blockLength;) {
      written += writeSync(DATA_FD, block, written, blockLength - written);
    }
  } catch {
    // Nobody reads any more.
    process.exit(0);
  }
  blockLength = 0;
}
