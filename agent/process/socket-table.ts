/** The TCP sockets of a network namespace as text: /proc/PID/net/tcp and tcp6 (proc_pid_net(5)). */
import { open } from 'node:fs/promises';
import { endianness } from 'node:os';
import { join } from 'node:path';
import { PlasmawatchError } from '../../common/errors.ts';
import { type Address, IPV4_MAPPED_WORD, sameAddress } from '../../common/address.ts';

/** net/tcp_states.h of the kernel; the table's `st` column and sock_diag(7) count from 1. */
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

/** A line of the table. */
export interface TableEntry {
  readonly local: Address;
  readonly localPort: number;
  readonly remote: Address;
  /** 0 for a listening socket. */
  readonly remotePort: number;
  readonly state: SocketState;
  readonly userId: number;
  /** 0 for a socket that no process has any more. */
  readonly inode: number;
}

/** A line is 150 bytes: about 100,000 sockets of a namespace. What is beyond is not seen. */
const MAX_TABLE_BYTES = 16 * 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;
/** The kernel gives a page at a time; a node has some dozens of listeners. */
const LISTENERS_BYTES = 4096;
const HOST_IS_LITTLE_ENDIAN = endianness() === 'LE';

/** The wanted sockets of the network namespace of a process; the tables are read in pieces and never held whole. */
export async function readSocketTable(
  proc: string,
  pid: number | 'self',
  isWanted: (entry: TableEntry) => boolean,
): Promise<TableEntry[]> {
  const entries: TableEntry[] = [];
  for (const name of ['tcp', 'tcp6']) {
    for await (const line of readLines(join(proc, `${pid}/net`, name))) {
      const entry = parseTableLine(line);
      if (entry !== undefined && isWanted(entry)) entries.push(entry);
    }
  }
  return entries;
}

/**
 * The wanted ones of the listening sockets. The kernel lists them before all others (networking/proc_net_tcp.rst), so that the
 * connections, of which there may be thousands, are not read.
 */
export async function readListeners(
  proc: string,
  pid: number | 'self',
  isWanted: (entry: TableEntry) => boolean,
): Promise<TableEntry[]> {
  const entries: TableEntry[] = [];
  for (const name of ['tcp', 'tcp6']) {
    for await (const line of readLines(join(proc, `${pid}/net`, name), LISTENERS_BYTES)) {
      const entry = parseTableLine(line);
      if (entry !== undefined && entry.state !== 'listen') break;
      if (entry !== undefined && isWanted(entry)) entries.push(entry);
    }
  }
  return entries;
}

/**
 * The users of whom one gets a connection to an endpoint of this network namespace; empty where nobody listens. A socket at the
 * very address goes before one at all addresses, as in the kernel (net/ipv4/inet_hashtables.c).
 */
export async function listeningUsers(
  address: Address,
  port: number,
  proc = '/proc',
): Promise<ReadonlySet<number>> {
  const listeners = await readListeners(
    proc,
    'self',
    ({ local, localPort }) => localPort === port && (isUnspecified(local) || sameAddress(local, address)),
  );
  const exact = listeners.filter(({ local }) => sameAddress(local, address));
  return new Set((exact.length > 0 ? exact : listeners).map(({ userId }) => userId));
}

/**
 * Whether somebody listens at an endpoint of this network namespace.
 * @param sockDiag the kernel's list of sockets, which answers without the table being read; undefined where it offers none
 */
export async function isListenedAt(
  sockDiag: { listensAt(address: Address, port: number): boolean } | undefined,
  address: Address,
  port: number,
): Promise<boolean> {
  try {
    if (sockDiag !== undefined) return sockDiag.listensAt(address, port);
  } catch (error) {
    // No memory for the answer: the table has it, too.
    if (!(error instanceof PlasmawatchError)) throw error;
  }
  return (await listeningUsers(address, port)).size > 0;
}

/** `0.0.0.0`, or `::`, which takes IPv4 as well unless told otherwise. */
function isUnspecified({ w0, w1, w2, w3 }: Address): boolean {
  return w0 === 0 && w1 === 0 && w3 === 0 && (w2 === 0 || w2 === IPV4_MAPPED_WORD);
}

/**
 * One line of the table; undefined for the heading and for anything else. An address is hexadecimal, each 32-bit word
 * of it in the byte order of the machine; a port is a plain hexadecimal number.
 */
export function parseTableLine(line: string): TableEntry | undefined {
  const match = TABLE_LINE.exec(line);
  if (match === null) return undefined;
  const [, local = '', localPort = '', remote = '', remotePort = '', state = '', userId, inode] = match;
  return {
    local: parseHexAddress(local),
    localPort: parseInt(localPort, 16),
    remote: parseHexAddress(remote),
    remotePort: parseInt(remotePort, 16),
    state: SOCKET_STATES[parseInt(state, 16) - 1] ?? 'unknown',
    userId: Number(userId),
    inode: Number(inode),
  };
}

const HEX_ADDRESS = '([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})';
/** Slot, local, remote, state, queues, timer, retransmissions, user, timeout, inode. */
const TABLE_LINE = new RegExp(
  `^\\s*\\d+: ${HEX_ADDRESS} ${HEX_ADDRESS} ([0-9A-F]{2}) \\S+ \\S+ \\S+\\s+(\\d+)\\s+\\d+ (\\d+)`,
);

function parseHexAddress(hex: string): Address {
  const word = (index: number): number => parseHexWord(hex.slice(index * 8, index * 8 + 8));
  if (hex.length === 8) return { w0: 0, w1: 0, w2: IPV4_MAPPED_WORD, w3: word(0) };
  return { w0: word(0), w1: word(1), w2: word(2), w3: word(3) };
}

/** The kernel prints the word as a number of the machine; the address is the bytes in memory. */
function parseHexWord(hex: string): number {
  const value = parseInt(hex, 16);
  if (!HOST_IS_LITTLE_ENDIAN) return value | 0;
  return (value >>> 24) | ((value >>> 8) & 0xff00) | ((value & 0xff00) << 8) | ((value & 0xff) << 24);
}

async function* readLines(path: string, chunkBytes = CHUNK_BYTES): AsyncGenerator<string> {
  // No such table: the process is gone, or the kernel has no IPv6.
  const file = await open(path, 'r').catch(() => undefined);
  if (file === undefined) return;
  try {
    const buffer = Buffer.alloc(chunkBytes);
    let rest = '';
    for (let total = 0; total < MAX_TABLE_BYTES;) {
      const { bytesRead } = await file.read(buffer, 0, chunkBytes, null);
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
