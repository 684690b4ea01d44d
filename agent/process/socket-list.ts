/** The TCP sockets of this network namespace by their inodes, from the kernel in the quickest way that it offers. */
import { PlasmawatchError } from '../../common/errors.ts';
import { messageOf } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import { readFileSync } from 'node:fs';
import { SocketDump } from './socket-dump.ts';
import { readSocketTable, type TableEntry } from './socket-table.ts';

/** All sockets, or those that are not connected to loopback; where that saves nothing they are listed all the same. */
export type SocketScope = 'all' | 'elsewhere';

/** The sockets with these inodes, and how many there are of others and them. */
export type SocketList = (inodes: ReadonlySet<number>, scope: SocketScope) => Promise<ListedSockets>;

export interface ListedSockets {
  readonly entries: readonly TableEntry[];
  /** Sockets that were passed on the way, in units of what one costs in the quickest way. */
  readonly listed: number;
}

/** A line of the table costs so many times what the same socket costs over netlink. */
const TABLE_COST = 5;

/** That of this machine. Says in the log where the slower way has to do. */
export async function openSocketList(logger: Logger): Promise<{ list: SocketList; close: () => void }> {
  try {
    const dump = await SocketDump.open();
    return {
      list: (inodes, scope) => dump.list(inodes, scope).catch(() => listFromTable(inodes)),
      close: () => dump.close(),
    };
  } catch (error) {
    if (!(error instanceof PlasmawatchError)) throw error;
    logger.info({ reason: messageOf(error) }, 'sockets are listed from /proc/net/tcp');
    return { list: (inodes) => listFromTable(inodes), close: () => {} };
  }
}

/** The same from the table of text. @param proc for tests: another root than /proc */
export async function listFromTable(inodes: ReadonlySet<number>, proc = '/proc'): Promise<ListedSockets> {
  let lines = 0;
  const entries = await readSocketTable(proc, 'self', ({ inode }) => {
    lines++;
    return inodes.has(inode);
  });
  return { entries, listed: lines * TABLE_COST };
}

/**
 * How many TCP connections this network namespace has opened since it began, whichever program did (`ActiveOpens`, RFC 4022);
 * undefined where that cannot be read.
 *
 * @param proc for tests: another root than /proc
 */
export function readActiveOpens(proc = '/proc'): number | undefined {
  let text: string;
  try {
    // From the kernel's memory: nothing delays it.
    text = readFileSync(`${proc}/self/net/snmp`, 'latin1');
  } catch {
    return undefined;
  }
  const [names, values] = text.split('\n').filter((line) => line.startsWith('Tcp: '));
  const index = names?.split(' ').indexOf('ActiveOpens') ?? -1;
  const value = index === -1 ? undefined : values?.split(' ')[index];
  return value !== undefined && /^\d+$/.test(value) ? Number(value) : undefined;
}
