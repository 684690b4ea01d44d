/**
 * System calls by way of koffi, each under its C signature. Every function checks the result and raises a
 * `PlasmawatchError` with the code PW_SYSTEM_CALL that tells the call, the device and the error's name.
 *
 * The wrappers of the C library are called, not raw system call numbers, so the same code serves x86-64 and arm64,
 * glibc and musl.
 */
import { arch, platform } from 'node:os';
import { getSystemErrorName } from 'node:util';
import type * as Koffi from 'koffi';
import { messageOf, PlasmawatchError } from '../../../common/errors.ts';
import {
  BPF_SYSTEM_CALL,
  CLOCK_MONOTONIC,
  HOST_IS_LITTLE_ENDIAN,
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  POLLFD,
  PROT_READ,
  PROT_WRITE,
  SO_ERROR,
  SOL_SOCKET,
} from './constants.ts';

/** Memory that `mmap` gave. The bytes are gone, and touching `bytes` is fatal, after `unmap`. */
export interface Mapping {
  readonly bytes: ArrayBuffer;
  /** Where they are, for structs of the kernel that hold pointers. */
  readonly address: bigint;
  /** Gives the memory back; a second call does nothing. */
  unmap(): void;
}

/** What `poll` waits for: `events` in, `revents` out (POLLIN, POLLERR of asm-generic/poll.h). */
export interface PollEntry {
  readonly fd: number;
  readonly events: number;
}

/** The system calls that capturing needs. `device` is only for the text of errors. */
export interface Libc {
  /** socket(2) */
  socket(domain: number, type: number, protocol: number, device: string): number;
  /** bind(2) */
  bind(fd: number, address: Uint8Array, device: string): void;
  /** connect(2) */
  connect(fd: number, address: Uint8Array, device: string): void;
  /** setsockopt(2); `operation` names the option for people. */
  setSocketOption(
    fd: number,
    level: number,
    option: number,
    value: Uint8Array,
    operation: string,
    device: string,
  ): void;
  /** setsockopt(2) with SO_ATTACH_FILTER: replaces the socket's classic BPF program at once. See socket(7). */
  attachFilter(
    fd: number,
    option: number,
    program: Uint8Array,
    instructionCount: number,
    device: string,
  ): void;
  /** getsockopt(2), into `value`. */
  getSocketOption(
    fd: number,
    level: number,
    option: number,
    value: Uint8Array,
    operation: string,
    device: string,
  ): void;
  /** getsockopt(2) with SO_ERROR: the error that waits on a socket, by name, which this clears. */
  takeSocketError(fd: number, device: string): string | undefined;
  /** mmap(2) of `length` bytes of `fd` from its start. */
  map(fd: number, length: number, protection: number, flags: number, device: string): Mapping;
  /** mmap(2) of `length` zero bytes that belong to no file. */
  allocate(length: number): Mapping;
  /**
   * bpf(2): the command's `union bpf_attr` in and out, and what it answers.
   * Raises PW_CAPTURE_UNAVAILABLE on processors whose number of the call is not known.
   */
  bpf(command: number, attributes: Uint8Array, operation: string): number;
  /** The same for a command that looks for something: whether it is there. An absence, which is usual, costs no error. */
  bpfFinds(command: number, attributes: Uint8Array, operation: string): boolean;
  /** clock_gettime(2) with CLOCK_MONOTONIC, in nanoseconds. */
  monotonicTimeNs(): number;
  /** poll(2) on a worker thread: what came for each entry; all zero after `timeoutMs` or an interruption. */
  poll(entries: readonly PollEntry[], timeoutMs: number, device: string): Promise<number[]>;
  /** send(2) of a whole message. */
  send(fd: number, message: Uint8Array, device: string): void;
  /** recv(2) of one message into `message`: its length, which is that of `message` where it was longer. */
  receive(fd: number, message: Uint8Array, flags: number, device: string): number;
  /** eventfd(2) with a count of 0. */
  eventFd(flags: number): number;
  /** eventfd_write(3): makes the descriptor readable. */
  signalEventFd(fd: number): void;
  /** close(2) */
  close(fd: number): void;
  /** if_nametoindex(3): 0 when there is no such interface. */
  interfaceIndex(name: string): number;
}

type ForeignFunction = ReturnType<Koffi.LibraryHandle['func']>;

let loaded: Promise<Libc> | undefined;

/** The C library of this process. Fails with PW_CAPTURE_UNAVAILABLE where the package koffi is missing or broken. */
export function loadLibc(): Promise<Libc> {
  loaded ??= bindLibc();
  return loaded;
}

async function bindLibc(): Promise<Libc> {
  if (platform() !== 'linux') {
    throw new PlasmawatchError(
      'PW_CAPTURE_UNAVAILABLE',
      `the kernel's packet ring is Linux's, not ${platform()}'s`,
    );
  }
  const koffi = await importKoffi();
  const program = koffi.load(null);
  const c = {
    socket: program.func('int socket(int domain, int type, int protocol)'),
    bind: program.func('int bind(int fd, const void *address, uint32_t length)'),
    connect: program.func('int connect(int fd, const void *address, uint32_t length)'),
    setsockopt: program.func(
      'int setsockopt(int fd, int level, int option, const void *value, uint32_t length)',
    ),
    getsockopt: program.func(
      'int getsockopt(int fd, int level, int option, void *value, _Inout_ uint32_t *length)',
    ),
    mmap: program.func(
      'void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)',
    ),
    munmap: program.func('int munmap(void *address, size_t length)'),
    poll: program.func('int poll(void *entries, unsigned long count, int timeoutMs)'),
    send: program.func('long send(int fd, const void *message, size_t length, int flags)'),
    recv: program.func('long recv(int fd, void *message, size_t length, int flags)'),
    eventfd: program.func('int eventfd(unsigned int initialValue, int flags)'),
    eventfd_write: program.func('int eventfd_write(int fd, uint64_t value)'),
    close: program.func('int close(int fd)'),
    clock_gettime: program.func('int clock_gettime(int clock, void *time)'),
    syscall: program.func('long syscall(long number, long command, void *attributes, long size)'),
    if_nametoindex: program.func('unsigned int if_nametoindex(const char *name)'),
  };
  /** `struct sock_fprog` of linux/filter.h. */
  const sockFprog = koffi.struct({ len: 'uint16_t', filter: 'void *' });

  /** Calls, and raises with the error's name where the call says -1. */
  function check(call: ForeignFunction, args: unknown[], operation: string, device: string): number {
    const result = call(...args) as number;
    if (result < 0) throw systemCallError(operation, device, errorName(koffi.errno()));
    return result;
  }

  /** `struct timespec` of time.h: two numbers of 64 bits. */
  const time = new Uint8Array(16);
  const timeView = new DataView(time.buffer);

  function map(fd: number, length: number, protection: number, flags: number, device: string): Mapping {
    const address = c.mmap(null, length, protection, flags, fd, 0) as bigint;
    if (BigInt.asIntN(64, address) === MAP_FAILED) {
      throw systemCallError('mmap', device, errorName(koffi.errno()));
    }
    let isMapped = true;
    return {
      bytes: koffi.view(address, length),
      address,
      unmap() {
        if (isMapped) check(c.munmap, [address, length], 'munmap', device);
        isMapped = false;
      },
    };
  }

  return {
    socket: (domain, type, protocol, device) => check(c.socket, [domain, type, protocol], 'socket', device),
    bind: (fd, address, device) => void check(c.bind, [fd, address, address.length], 'bind', device),
    connect: (fd, address, device) => void check(c.connect, [fd, address, address.length], 'connect', device),
    setSocketOption: (fd, level, option, value, operation, device) =>
      void check(c.setsockopt, [fd, level, option, value, value.length], operation, device),
    attachFilter(fd, option, filter, instructionCount, device) {
      const value = koffi.as({ len: instructionCount, filter }, koffi.pointer(sockFprog));
      const args = [fd, SOL_SOCKET, option, value, koffi.sizeof(sockFprog)];
      check(c.setsockopt, args, 'attach filter', device);
    },
    getSocketOption: (fd, level, option, value, operation, device) =>
      void check(c.getsockopt, [fd, level, option, value, [value.length]], operation, device),
    takeSocketError(fd, device) {
      const value = new Uint8Array(4);
      check(c.getsockopt, [fd, SOL_SOCKET, SO_ERROR, value, [value.length]], 'read socket error', device);
      const errno = new DataView(value.buffer).getInt32(0, HOST_IS_LITTLE_ENDIAN);
      return errno === 0 ? undefined : errorName(errno);
    },
    map,
    allocate: (length) => map(-1, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, 'memory'),
    bpf: (command, attributes, operation) =>
      check(c.syscall, [bpfNumber(), command, attributes, attributes.length], operation, 'bpf'),
    bpfFinds(command, attributes, operation) {
      const result = c.syscall(bpfNumber(), command, attributes, attributes.length) as number;
      if (result >= 0) return true;
      const name = errorName(koffi.errno());
      if (name === 'ENOENT') return false;
      throw systemCallError(operation, 'bpf', name);
    },
    monotonicTimeNs() {
      check(c.clock_gettime, [CLOCK_MONOTONIC, time], 'clock_gettime', 'CLOCK_MONOTONIC');
      const seconds = timeView.getBigInt64(0, HOST_IS_LITTLE_ENDIAN);
      return Number(seconds) * 1e9 + Number(timeView.getBigInt64(8, HOST_IS_LITTLE_ENDIAN));
    },
    async poll(entries, timeoutMs, device) {
      const bytes = encodePollEntries(entries);
      const outcome = await new Promise<number>((resolve, reject) => {
        c.poll.async(bytes, entries.length, timeoutMs, (error: unknown, result: number) => {
          // The binding calls back with null or with the reason why it could not make the call.
          if (error === null) resolve(result);
          else reject(new PlasmawatchError('PW_SYSTEM_CALL', `poll on ${device}: ${messageOf(error)}`));
        });
      });
      // errno is the worker thread's; the same call made here tells it, unless it was an interruption.
      if (outcome < 0) check(c.poll, [bytes, entries.length, 0], 'poll', device);
      return decodePollResults(bytes, entries.length);
    },
    send: (fd, message, device) => void check(c.send, [fd, message, message.length, 0], 'send', device),
    receive: (fd, message, flags, device) =>
      check(c.recv, [fd, message, message.length, flags], 'receive', device),
    eventFd: (flags) => check(c.eventfd, [0, flags], 'eventfd', 'wake-up'),
    signalEventFd: (fd) => void check(c.eventfd_write, [fd, 1], 'eventfd_write', 'wake-up'),
    close: (fd) => void check(c.close, [fd], 'close', `descriptor ${fd}`),
    interfaceIndex: (name) => c.if_nametoindex(name) as number,
  };
}

function bpfNumber(): number {
  const number = BPF_SYSTEM_CALL[arch()];
  if (number !== undefined) return number;
  throw new PlasmawatchError(
    'PW_CAPTURE_UNAVAILABLE',
    `counting in the kernel is for x64 and arm64, not for ${arch()}`,
  );
}

/** sys/mman.h */
const MAP_FAILED = -1n;

async function importKoffi(): Promise<typeof Koffi> {
  try {
    return await import('koffi');
  } catch (error) {
    throw new PlasmawatchError(
      'PW_CAPTURE_UNAVAILABLE',
      `the package koffi, through which the kernel's packet ring is reached, cannot be loaded: ${messageOf(error)}`,
      { operation: 'import', subject: 'koffi', cause: error },
    );
  }
}

function systemCallError(operation: string, device: string, name: string): PlasmawatchError {
  return new PlasmawatchError('PW_SYSTEM_CALL', `${operation} on ${device}: ${name}`, {
    operation,
    subject: device,
    cause: { code: name },
    retryable: RETRYABLE.has(name),
  });
}

/** Errors that say "not now" rather than "not so". */
const RETRYABLE: ReadonlySet<string> = new Set([
  'EAGAIN',
  'EINTR',
  'ENETDOWN',
  'ENOBUFS',
  'ENOMEM',
  'ENODEV',
]);

function errorName(errno: number): string {
  return getSystemErrorName(-errno);
}

function encodePollEntries(entries: readonly PollEntry[]): Uint8Array {
  const bytes = new Uint8Array(entries.length * POLLFD.size);
  const view = new DataView(bytes.buffer);
  entries.forEach(({ fd, events }, index) => {
    view.setInt32(index * POLLFD.size + POLLFD.fd, fd, HOST_IS_LITTLE_ENDIAN);
    view.setInt16(index * POLLFD.size + POLLFD.events, events, HOST_IS_LITTLE_ENDIAN);
  });
  return bytes;
}

function decodePollResults(bytes: Uint8Array, count: number): number[] {
  const view = new DataView(bytes.buffer);
  const results: number[] = [];
  for (let index = 0; index < count; index++) {
    results.push(view.getInt16(index * POLLFD.size + POLLFD.revents, HOST_IS_LITTLE_ENDIAN));
  }
  return results;
}
