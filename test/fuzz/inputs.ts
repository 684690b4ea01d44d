/** What is mutated: packets and small files of the project's recordings and, where they are there, of the shared ones. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { openCaptureFile } from '../../agent/capture/file/open.ts';
import {
  LINKTYPE_ETHERNET,
  LINKTYPE_IPV4,
  LINKTYPE_LINUX_SLL,
  LINKTYPE_LINUX_SLL2,
} from '../../agent/decode/link-type.ts';
import {
  bytesOf,
  ETHERNET_ADDRESSES,
  ETHERNET_FRAME,
  IPV4_PACKET,
  ipv4Packet,
  IPV6_PACKET,
  udpPacket,
} from '../support/packet-bytes.ts';
import { corpusEntries, corpusPath, SHARED_FOLDER } from '../support/corpus.ts';
import { readFrames } from '../support/frames.ts';

const RECORDINGS = [resolve(import.meta.dirname, '../../pcaps'), join(SHARED_FOLDER, 'pcaps/ray')];
/** Packets of kinds that no recording has. */
const SEEDS: readonly (readonly [linkType: number, hex: string])[] = [
  [
    LINKTYPE_IPV4,
    udpPacket(1701, `4a 02 00 3c 00 07 00 09 00 01 00 02 00 02 ee ee ff 03 00 21 ${IPV4_PACKET}`),
  ],
  [LINKTYPE_IPV4, udpPacket(1701, `00 03 00 00 00 00 00 05 c0 0c 1e 00 ${ETHERNET_FRAME}`)],
  [LINKTYPE_IPV4, ipv4Packet(115, `00 00 00 05 40 00 00 01 ${ETHERNET_FRAME}`)],
  [LINKTYPE_IPV4, udpPacket(37_008, `01 00 00 01 0a 01 c5 28 04 00 00 00 01 01 ${ETHERNET_FRAME}`)],
  [LINKTYPE_IPV4, ipv4Packet(47, `20 01 64 00 00 36 07 00 ${ETHERNET_FRAME}`)],
  [LINKTYPE_LINUX_SLL, `00 00 00 01 00 06 02 00 00 00 00 01 00 00 00 03 ${ETHERNET_FRAME}`],
  [LINKTYPE_LINUX_SLL2, `00 03 00 00 00 00 00 02 00 01 00 06 02 00 00 00 00 01 00 00 ${IPV6_PACKET}`],
  [LINKTYPE_ETHERNET, `${ETHERNET_ADDRESSES} 88 47 00 01 01 40 00 3a 00 00 ${ETHERNET_FRAME}`],
  [LINKTYPE_ETHERNET, `${ETHERNET_ADDRESSES} 88 47 00 01 01 40 ${ETHERNET_FRAME.replace('02', '45')}`],
];

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

/** The first packets of every capture, and the seeds. */
export async function packetInputs(): Promise<PacketInput[]> {
  const packets: PacketInput[] = SEEDS.map(([linkType, hex]) => ({ linkType, bytes: bytesOf(hex) }));
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
