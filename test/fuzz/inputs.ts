/** What is mutated: packets and small files of the project's recordings and, where they are there, of the shared ones. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { openCaptureFile } from '../../agent/capture/file/open.ts';
import { corpusEntries, corpusPath, SHARED_FOLDER } from '../support/corpus.ts';
import { readFrames } from '../support/frames.ts';

const RECORDINGS = [resolve(import.meta.dirname, '../../pcaps'), join(SHARED_FOLDER, 'pcaps/ray')];
const MAX_PACKETS_OF_A_FILE = 50;
/** Larger files say nothing about the reader that small ones do not, and take long to mutate. */
const MAX_FILE_BYTES = 20_000;

export interface PacketInput {
  readonly linkType: number;
  readonly bytes: Uint8Array;
}

function captures(): string[] {
  const recordings = RECORDINGS.filter((folder) => existsSync(folder)).flatMap((folder) =>
    readdirSync(folder)
      .filter((name) => name.endsWith('.pcap'))
      .map((name) => join(folder, name)),
  );
  return [...recordings, ...corpusEntries().map((entry) => corpusPath(entry))];
}

/** The first packets of every capture. */
export async function packetInputs(): Promise<PacketInput[]> {
  const packets: PacketInput[] = [];
  for (const path of captures()) {
    const source = openCaptureFile(path);
    let count = 0;
    await readFrames(source, ({ view, offset, capturedLength, linkType }) => {
      if (++count > MAX_PACKETS_OF_A_FILE) {
        source.stop();
        return;
      }
      const bytes = new Uint8Array(view.buffer, view.byteOffset + offset, capturedLength).slice();
      if (bytes.length > 0) packets.push({ linkType, bytes });
    });
  }
  return packets;
}

/** The small captures, whole. */
export function fileInputs(): Uint8Array[] {
  return captures()
    .filter((path) => statSync(path).size <= MAX_FILE_BYTES && statSync(path).size > 0)
    .map((path) => new Uint8Array(readFileSync(path)));
}
