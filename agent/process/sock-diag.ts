/**
 * One socket of this network namespace by its two ends, asked of the kernel over netlink (sock_diag(7)): one look into
 * its hash table, however many sockets there are, and no privilege. That is what `ss` does, for one socket.
 */
import { IPV4_MAPPED_WORD, isIpv4, type Address } from '../../common/address.ts';
import {
  AF_INET,
  AF_INET6,
  AF_NETLINK,
  HOST_IS_LITTLE_ENDIAN,
  INET_DIAG_MSG,
  INET_DIAG_NOCOOKIE,
  INET_DIAG_REQ_V2,
  INET_DIAG_SOCKID,
  IPPROTO_TCP,
  MSG_DONTWAIT,
  NETLINK_SOCK_DIAG,
  NLMSGHDR,
  NLMSG_DONE,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  SOCK_CLOEXEC,
  SOCK_DIAG_BY_FAMILY,
  SOCK_RAW,
} from '../capture/linux/constants.ts';
import { loadLibc, type Libc } from '../capture/linux/libc.ts';
import { PlasmawatchError } from '../../common/errors.ts';

/** A TCP connection as one of its ends has it. */
export interface SocketEnds {
  readonly local: Address;
  readonly localPort: number;
  readonly remote: Address;
  readonly remotePort: number;
}

/** What the kernel tells of a socket to everybody. */
export interface SocketFacts {
  /** Who made it. */
  readonly userId: number;
  /** 0 for a socket that no process has any more. */
  readonly inode: number;
}

const DEVICE = 'sock_diag';
const REQUEST_BYTES = NLMSGHDR.size + INET_DIAG_REQ_V2.size;
/** An answer with its attributes has about 130 bytes. */
const ANSWER_BYTES = 1024;
const ALL_STATES = 0xffff_ffff;
/** net/tcp_states.h */
const TCP_LISTEN = 10;
const ANY_IPV4: Address = { w0: 0, w1: 0, w2: IPV4_MAPPED_WORD, w3: 0 };
const ANY_IPV6: Address = { w0: 0, w1: 0, w2: 0, w3: 0 };

export class SockDiag {
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #answer = new Uint8Array(ANSWER_BYTES);
  #sequence = 0;

  private constructor(libc: Libc, fd: number) {
    this.#libc = libc;
    this.#fd = fd;
  }

  /** @throws PlasmawatchError where the kernel or the package koffi does not offer it; then there is the socket table */
  static async open(): Promise<SockDiag> {
    const libc = await loadLibc();
    const fd = libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG, DEVICE);
    const diag = new SockDiag(libc, fd);
    if (diag.#isOffered()) return diag;
    diag.close();
    throw new PlasmawatchError(
      'PW_SYSTEM_CALL',
      'the kernel has no sock_diag for TCP (the module tcp_diag)',
      {
        operation: 'send',
        subject: DEVICE,
      },
    );
  }

  /**
   * The socket of a connection; undefined where there is none any more.
   * @throws PlasmawatchError PW_SYSTEM_CALL where the kernel does not answer
   */
  find(ends: SocketEnds): SocketFacts | undefined {
    const answer = this.#ask(NLM_F_REQUEST, ALL_STATES, ends);
    const type = answer.getUint16(NLMSGHDR.type, HOST_IS_LITTLE_ENDIAN);
    // Anything else is an error: ENOENT, there is no such socket.
    if (type !== SOCK_DIAG_BY_FAMILY || answer.byteLength < NLMSGHDR.size + INET_DIAG_MSG.size)
      return undefined;
    // Where the connection is no more, the kernel gives whoever listens on its local port.
    const remotePort = answer.getUint16(NLMSGHDR.size + INET_DIAG_MSG.id + INET_DIAG_SOCKID.remotePort);
    if (remotePort !== ends.remotePort) return undefined;
    return {
      userId: answer.getUint32(NLMSGHDR.size + INET_DIAG_MSG.userId, HOST_IS_LITTLE_ENDIAN),
      inode: answer.getUint32(NLMSGHDR.size + INET_DIAG_MSG.inode, HOST_IS_LITTLE_ENDIAN),
    };
  }

  /**
   * Whether a socket of this network namespace listens at a local port, for this address or for all.
   * @throws PlasmawatchError PW_SYSTEM_CALL where the kernel does not answer
   */
  listensAt(local: Address, localPort: number): boolean {
    // No connection has port 0 at its other end: the kernel gives whoever listens.
    const remote = isIpv4(local) ? ANY_IPV4 : ANY_IPV6;
    const answer = this.#ask(NLM_F_REQUEST, 1 << TCP_LISTEN, { local, localPort, remote, remotePort: 0 });
    return answer.getUint16(NLMSGHDR.type, HOST_IS_LITTLE_ENDIAN) === SOCK_DIAG_BY_FAMILY;
  }

  close(): void {
    this.#libc.close(this.#fd);
  }

  /** Without the module the answer to every question is ENOENT: a list of sockets in no state tells the two apart. */
  #isOffered(): boolean {
    const answer = this.#ask(NLM_F_REQUEST | NLM_F_DUMP, 0);
    return answer.getUint16(NLMSGHDR.type, HOST_IS_LITTLE_ENDIAN) === NLMSG_DONE;
  }

  #ask(flags: number, states: number, ends?: SocketEnds): DataView {
    const sequence = ++this.#sequence;
    this.#libc.send(this.#fd, request({ sequence, flags, states, ends }), DEVICE);
    // The kernel has answered before `send` returns. What is left of an earlier question has another number.
    for (;;) {
      const length = this.#libc.receive(this.#fd, this.#answer, MSG_DONTWAIT, DEVICE);
      const answer = new DataView(this.#answer.buffer, 0, length);
      if (length < NLMSGHDR.size) continue;
      if (answer.getUint32(NLMSGHDR.sequence, HOST_IS_LITTLE_ENDIAN) === sequence) return answer;
    }
  }
}

interface Question {
  readonly sequence: number;
  readonly flags: number;
  /** A bit for each state. */
  readonly states: number;
  readonly ends: SocketEnds | undefined;
}

function request({ sequence, flags, states, ends }: Question): Uint8Array {
  const bytes = new Uint8Array(REQUEST_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(NLMSGHDR.length, REQUEST_BYTES, HOST_IS_LITTLE_ENDIAN);
  view.setUint16(NLMSGHDR.type, SOCK_DIAG_BY_FAMILY, HOST_IS_LITTLE_ENDIAN);
  view.setUint16(NLMSGHDR.flags, flags, HOST_IS_LITTLE_ENDIAN);
  view.setUint32(NLMSGHDR.sequence, sequence, HOST_IS_LITTLE_ENDIAN);
  const body = NLMSGHDR.size;
  // An IPv6 socket that talks IPv4 is found by its IPv4 addresses, too.
  const isIpv4Only = ends === undefined || (isIpv4(ends.local) && isIpv4(ends.remote));
  view.setUint8(body + INET_DIAG_REQ_V2.family, isIpv4Only ? AF_INET : AF_INET6);
  view.setUint8(body + INET_DIAG_REQ_V2.protocol, IPPROTO_TCP);
  view.setUint32(body + INET_DIAG_REQ_V2.states, states, HOST_IS_LITTLE_ENDIAN);
  if (ends !== undefined) setEnds(view, body + INET_DIAG_REQ_V2.id, ends, isIpv4Only);
  return bytes;
}

function setEnds(view: DataView, id: number, ends: SocketEnds, isIpv4Only: boolean): void {
  view.setUint16(id + INET_DIAG_SOCKID.localPort, ends.localPort);
  view.setUint16(id + INET_DIAG_SOCKID.remotePort, ends.remotePort);
  setAddress(view, id + INET_DIAG_SOCKID.local, ends.local, isIpv4Only);
  setAddress(view, id + INET_DIAG_SOCKID.remote, ends.remote, isIpv4Only);
  view.setUint32(id + INET_DIAG_SOCKID.cookie, INET_DIAG_NOCOOKIE);
  view.setUint32(id + INET_DIAG_SOCKID.cookie + 4, INET_DIAG_NOCOOKIE);
}

function setAddress(view: DataView, offset: number, { w0, w1, w2, w3 }: Address, isIpv4Only: boolean): void {
  const words = isIpv4Only ? [w3] : [w0, w1, w2, w3];
  for (const [index, word] of words.entries()) view.setUint32(offset + index * 4, word);
}
