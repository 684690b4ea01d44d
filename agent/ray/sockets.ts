/**
 * Which TCP connections a process has: proc_pid_net(5) tells the sockets of its network namespace with their inodes,
 * and the links in /proc/PID/fd tell which of those inodes are its own.
 *
 * Whoever may not look into another user's process (CAP_SYS_PTRACE, or the same user) gets no sockets.
 */
import { open, readdir, readlink } from 'node:fs/promises';
import { endianness } from 'node:os';
import { join } from 'node:path';
import { type Address, IPV4_MAPPED_WORD } from '../../common/address.ts';
import type { Raylet, RayletSearch } from './raylet.ts';

/** A TCP socket of a process. */
export interface ProcessSocket {
  readonly local: Address;
  readonly localPort: number;
  readonly remote: Address;
  /** 0 for a listening socket. */
  readonly remotePort: number;
  readonly state: SocketState;
  readonly listening: boolean;
  /** Whether the process opened the connection: its local port is none that it listens on. */
  readonly outgoing: boolean;
}

/** net/tcp_states.h of the kernel; the table's `st` column counts from 1. */
export const SOCKET_STATES = [
  'established',
  'syn-sent',
  'syn-received',
  'fin-wait-1',
  'fin-wait-2',
  'time-wait',
  'close',
  'close-wait',
  'last-ack',
  'listen',
  'closing',
  'new-syn-received',
] as const;
export type SocketState = (typeof SOCKET_STATES)[number] | 'unknown';

/** A line is 150 bytes: about 100,000 sockets of a namespace. What is beyond is not seen. */
const MAX_TABLE_BYTES = 16 * 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;
const MAX_DESCRIPTORS = 65_536;
const HOST_IS_LITTLE_ENDIAN = endianness() === 'LE';

/** A line of the kernel's table. */
interface TableEntry {
  readonly local: Address;
  readonly localPort: number;
  readonly remote: Address;
  readonly remotePort: number;
  readonly state: SocketState;
  readonly inode: number;
}

/** The TCP sockets of a process, listening ones included; empty where it is gone or may not be looked into. */
export async function connectionsOf(
  pid: number,
  { proc = '/proc' }: RayletSearch = {},
): Promise<ProcessSocket[]> {
  const inodes = await readSocketInodes(join(proc, `${pid}/fd`));
  if (inodes.size === 0) return [];
  const own = [
    ...(await readTable(join(proc, `${pid}/net/tcp`), inodes)),
    ...(await readTable(join(proc, `${pid}/net/tcp6`), inodes)),
  ];
  const listeningPorts = new Set(
    own.filter(({ state }) => state === 'listen').map(({ localPort }) => localPort),
  );
  return own.map(({ local, localPort, remote, remotePort, state }) => ({
    local,
    localPort,
    remote,
    remotePort,
    state,
    listening: state === 'listen',
    outgoing: !listeningPorts.has(localPort),
  }));
}

/** The connections that these raylets opened, except those to the GCS, through which no object moves. */
export async function openedByRaylets(
  raylets: readonly Pick<Raylet, 'pid' | 'gcsAddress'>[],
  search: RayletSearch = {},
): Promise<ProcessSocket[]> {
  const opened = raylets.map(async ({ pid, gcsAddress }) => {
    const gcsPort = Number(gcsAddress.split(':').at(-1));
    const sockets = await connectionsOf(pid, search);
    return sockets.filter(({ outgoing, remotePort }) => outgoing && remotePort !== gcsPort);
  });
  return (await Promise.all(opened)).flat();
}

/**
 * One line of /proc/PID/net/tcp or tcp6; undefined for the heading and for anything else. An address is hexadecimal,
 * each 32-bit word of it in the byte order of the machine; a port is a plain hexadecimal number.
 */
export function parseTableLine(line: string): TableEntry | undefined {
  const match = TABLE_LINE.exec(line);
  if (match === null) return undefined;
  const [, local = '', localPort = '', remote = '', remotePort = '', state = '', inode = ''] = match;
  return {
    local: parseHexAddress(local),
    localPort: parseInt(localPort, 16),
    remote: parseHexAddress(remote),
    remotePort: parseInt(remotePort, 16),
    state: SOCKET_STATES[parseInt(state, 16) - 1] ?? 'unknown',
    inode: Number(inode),
  };
}

const HEX_ADDRESS = '([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})';
/** Slot, local, remote, state, queues, timer, retransmissions, user, timeout, inode. */
const TABLE_LINE = new RegExp(
  `^\\s*\\d+: ${HEX_ADDRESS} ${HEX_ADDRESS} ([0-9A-F]{2}) \\S+ \\S+ \\S+\\s+\\d+\\s+\\d+ (\\d+)`,
);

function parseHexAddress(hex: string): Address {
  const word = (index: number): number => parseHexWord(hex.slice(index * 8, index * 8 + 8));
  if (hex.length === 8) return { w0: 0, w1: 0, w2: IPV4_MAPPED_WORD, w3: word(0) };
  return { w0: word(0), w1: word(1), w2: word(2), w3: word(3) };
}

/** The kernel prints the word as a number of the machine; the address is the bytes in memory. */
function parseHexWord(hex: string): number {
  const value = parseInt(hex, 16);
  if (!HOST_IS_LITTLE_ENDIAN) return value;
  return ((value >>> 24) | ((value >>> 8) & 0xff00) | ((value & 0xff00) << 8) | ((value & 0xff) << 24)) >>> 0;
}

async function readSocketInodes(folder: string): Promise<ReadonlySet<number>> {
  const descriptors = await readdir(folder).catch(() => []);
  const inodes = new Set<number>();
  for (const descriptor of descriptors.slice(0, MAX_DESCRIPTORS)) {
    const target = await readlink(join(folder, descriptor)).catch(() => '');
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
    if (inode !== undefined) inodes.add(Number(inode));
  }
  return inodes;
}

/** The lines whose sockets are wanted; the table is read in pieces and never held whole. */
async function readTable(path: string, inodes: ReadonlySet<number>): Promise<TableEntry[]> {
  const entries: TableEntry[] = [];
  for await (const line of readLines(path)) {
    const entry = parseTableLine(line);
    if (entry !== undefined && inodes.has(entry.inode)) entries.push(entry);
  }
  return entries;
}

async function* readLines(path: string): AsyncGenerator<string> {
  // No such table: the process is gone, or the kernel has no IPv6.
  const file = await open(path, 'r').catch(() => undefined);
  if (file === undefined) return;
  try {
    const buffer = Buffer.alloc(CHUNK_BYTES);
    let rest = '';
    for (let total = 0; total < MAX_TABLE_BYTES;) {
      const { bytesRead } = await file.read(buffer, 0, CHUNK_BYTES, null);
      if (bytesRead === 0) break;
      total += bytesRead;
      const lines = (rest + buffer.toString('latin1', 0, bytesRead)).split('\n');
      rest = lines.pop() ?? '';
      yield* lines;
    }
    if (rest !== '') yield rest;
  } finally {
    await file.close();
  }
}
