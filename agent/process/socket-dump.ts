/**
 * The TCP sockets of this network namespace, asked of the kernel over netlink (sock_diag(7)) as `ss` does: the same as
 * /proc/net/tcp, without the text. Of 5,000 sockets the table of text takes some 25 ms of CPU time, this some 2 ms.
 */
import { setImmediate } from 'node:timers/promises';
import { type Address, IPV4_MAPPED_WORD } from '../../common/address.ts';
import { PlasmawatchError } from '../../common/errors.ts';
import {
  AF_INET,
  AF_INET6,
  AF_NETLINK,
  HOST_IS_LITTLE_ENDIAN,
  INET_DIAG_MSG,
  INET_DIAG_REQ_V2,
  INET_DIAG_SOCKID,
  IPPROTO_TCP,
  MSG_DONTWAIT,
  NETLINK_SOCK_DIAG,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSGHDR,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  SOCK_CLOEXEC,
  SOCK_DIAG_BY_FAMILY,
  SOCK_RAW,
} from '../capture/linux/constants.ts';
import { loadLibc, type Libc } from '../capture/linux/libc.ts';
import type { ListedSockets, SocketScope } from './socket-list.ts';
import { SOCKET_STATES, type SocketState, type TableEntry } from './socket-table.ts';

const DEVICE = 'sock_diag';
const REQUEST_BYTES = NLMSGHDR.size + INET_DIAG_REQ_V2.size;
/** INET_DIAG_REQ_BYTECODE of linux/inet_diag.h: a program of which the kernel asks what belongs on the list. */
const BYTECODE = 1;
/**
 * "The remote address is not in 127.0.0.0/8", as linux/inet_diag.h has it: a condition with its address, which goes on to the jump
 * behind it where it holds, and to the end where not; and the jump, which leads past the end: such a socket is left out.
 */
const CONDITION_BYTES = 16;
const JUMP_BYTES = 4;
const BC_JUMP = 1;
const BC_REMOTE = 8;
const ATTRIBUTE_HEADER_BYTES = 4;
const FILTER_BYTES = ATTRIBUTE_HEADER_BYTES + CONDITION_BYTES + JUMP_BYTES;
const LOOPBACK = { firstByte: 127, prefixLength: 8 };
const ANY_PORT = -1;
/** The kernel fills at most so much at a time (net/netlink/af_netlink.c). */
const ANSWER_BYTES = 32_768;
/** Answers between two pauses in which packets are handled: some 2 ms. */
const ANSWERS_BETWEEN_PAUSES = 16;
/** Sockets that no process holds any more, which have no inode. */
const WITHOUT_PROCESS: ReadonlySet<SocketState> = new Set(['time-wait', 'new-syn-received']);
const STATES_WITH_PROCESS = SOCKET_STATES.reduce(
  (mask, state, index) => (WITHOUT_PROCESS.has(state) ? mask : mask | (1 << (index + 1))),
  0,
);

export class SocketDump {
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #answer = new Uint8Array(ANSWER_BYTES);
  #sequence = 0;
  /** Sockets that the list at hand has passed. */
  #passed = 0;
  /** One list at a time: their answers come over one socket. */
  #running: Promise<unknown> = Promise.resolve();

  private constructor(libc: Libc, fd: number) {
    this.#libc = libc;
    this.#fd = fd;
  }

  /** @throws PlasmawatchError where the kernel or the package koffi does not offer it; then there is the socket table */
  static async open(): Promise<SocketDump> {
    const libc = await loadLibc();
    const dump = new SocketDump(
      libc,
      libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG, DEVICE),
    );
    try {
      await dump.list(new Set());
      return dump;
    } catch (error) {
      dump.close();
      throw error;
    }
  }

  /**
   * The sockets with these inodes.
   * @param scope `elsewhere` leaves out what is connected to 127.0.0.0/8, for which the kernel writes and we read nothing then
   * @throws PlasmawatchError PW_SYSTEM_CALL where the kernel does not answer
   */
  list(inodes: ReadonlySet<number>, scope: SocketScope = 'all'): Promise<ListedSockets> {
    const listed = this.#running.then(() => this.#list(inodes, scope));
    this.#running = listed.catch(() => {});
    return listed;
  }

  close(): void {
    this.#libc.close(this.#fd);
  }

  async #list(inodes: ReadonlySet<number>, scope: SocketScope): Promise<ListedSockets> {
    const entries: TableEntry[] = [];
    this.#passed = 0;
    let answers = 0;
    for (const family of [AF_INET, AF_INET6]) {
      this.#libc.send(this.#fd, request(++this.#sequence, family, scope), DEVICE);
      // The kernel has an answer ready before `send` and before each `receive` returns.
      while (!this.#readAnswer(inodes, entries)) {
        answers++;
        if (answers % ANSWERS_BETWEEN_PAUSES === 0) await setImmediate();
      }
    }
    return { entries, listed: this.#passed };
  }

  /** Takes one answer, of many messages. Returns whether it was the last one. */
  #readAnswer(inodes: ReadonlySet<number>, entries: TableEntry[]): boolean {
    const length = this.#libc.receive(this.#fd, this.#answer, MSG_DONTWAIT, DEVICE);
    const view = new DataView(this.#answer.buffer, 0, length);
    let offset = 0;
    while (offset + NLMSGHDR.size <= length) {
      const size = view.getUint32(offset + NLMSGHDR.length, HOST_IS_LITTLE_ENDIAN);
      if (size < NLMSGHDR.size || offset + size > length) throw unreadable();
      // What is left of a list that was broken off has another number.
      if (view.getUint32(offset + NLMSGHDR.sequence, HOST_IS_LITTLE_ENDIAN) === this.#sequence) {
        const type = view.getUint16(offset + NLMSGHDR.type, HOST_IS_LITTLE_ENDIAN);
        if (type === NLMSG_DONE) return true;
        if (type === NLMSG_ERROR) throw unreadable();
        const body = offset + NLMSGHDR.size;
        if (type === SOCK_DIAG_BY_FAMILY && size >= NLMSGHDR.size + INET_DIAG_MSG.size) {
          this.#passed++;
          const inode = view.getUint32(body + INET_DIAG_MSG.inode, HOST_IS_LITTLE_ENDIAN);
          if (inodes.has(inode)) entries.push(readEntry(view, body, inode));
        }
      }
      // NLMSG_ALIGN of linux/netlink.h
      offset += (size + 3) & ~3;
    }
    return false;
  }
}

function request(sequence: number, family: number, scope: SocketScope): Uint8Array {
  const length = REQUEST_BYTES + (scope === 'all' ? 0 : FILTER_BYTES);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  if (scope !== 'all') writeFilter(new DataView(bytes.buffer, REQUEST_BYTES));
  view.setUint32(NLMSGHDR.length, length, HOST_IS_LITTLE_ENDIAN);
  view.setUint16(NLMSGHDR.type, SOCK_DIAG_BY_FAMILY, HOST_IS_LITTLE_ENDIAN);
  view.setUint16(NLMSGHDR.flags, NLM_F_REQUEST | NLM_F_DUMP, HOST_IS_LITTLE_ENDIAN);
  view.setUint32(NLMSGHDR.sequence, sequence, HOST_IS_LITTLE_ENDIAN);
  const body = NLMSGHDR.size;
  view.setUint8(body + INET_DIAG_REQ_V2.family, family);
  view.setUint8(body + INET_DIAG_REQ_V2.protocol, IPPROTO_TCP);
  view.setUint32(body + INET_DIAG_REQ_V2.states, STATES_WITH_PROCESS, HOST_IS_LITTLE_ENDIAN);
  return bytes;
}

/** An attribute of netlink with the program. An IPv4 condition holds for mapped addresses of IPv6 sockets as well. */
function writeFilter(view: DataView): void {
  const condition = ATTRIBUTE_HEADER_BYTES;
  const jump = condition + CONDITION_BYTES;
  view.setUint16(0, FILTER_BYTES, HOST_IS_LITTLE_ENDIAN);
  view.setUint16(2, BYTECODE, HOST_IS_LITTLE_ENDIAN);
  writeOperation(view, condition, BC_REMOTE, CONDITION_BYTES, CONDITION_BYTES + JUMP_BYTES);
  // struct inet_diag_hostcond
  view.setUint8(condition + 4, AF_INET);
  view.setUint8(condition + 5, LOOPBACK.prefixLength);
  view.setInt32(condition + 8, ANY_PORT, HOST_IS_LITTLE_ENDIAN);
  view.setUint8(condition + 12, LOOPBACK.firstByte);
  writeOperation(view, jump, BC_JUMP, JUMP_BYTES, 2 * JUMP_BYTES);
}

/** struct inet_diag_bc_op: how many bytes to go on by where it holds, and where it does not. */
function writeOperation(view: DataView, at: number, code: number, yes: number, no: number): void {
  view.setUint8(at, code);
  view.setUint8(at + 1, yes);
  view.setUint16(at + 2, no, HOST_IS_LITTLE_ENDIAN);
}

function readEntry(view: DataView, body: number, inode: number): TableEntry {
  const isIpv4 = view.getUint8(body + INET_DIAG_MSG.family) === AF_INET;
  const id = body + INET_DIAG_MSG.id;
  return {
    local: readAddress(view, id + INET_DIAG_SOCKID.local, isIpv4),
    localPort: view.getUint16(id + INET_DIAG_SOCKID.localPort),
    remote: readAddress(view, id + INET_DIAG_SOCKID.remote, isIpv4),
    remotePort: view.getUint16(id + INET_DIAG_SOCKID.remotePort),
    state: SOCKET_STATES[view.getUint8(body + INET_DIAG_MSG.state) - 1] ?? 'unknown',
    userId: view.getUint32(body + INET_DIAG_MSG.userId, HOST_IS_LITTLE_ENDIAN),
    inode,
  };
}

function readAddress(view: DataView, offset: number, isIpv4: boolean): Address {
  const word = (index: number): number => view.getInt32(offset + index * 4);
  if (isIpv4) return { w0: 0, w1: 0, w2: IPV4_MAPPED_WORD, w3: word(0) };
  return { w0: word(0), w1: word(1), w2: word(2), w3: word(3) };
}

function unreadable(): PlasmawatchError {
  return new PlasmawatchError('PW_SYSTEM_CALL', "the kernel's list of sockets cannot be read", {
    operation: 'receive',
    subject: DEVICE,
  });
}
