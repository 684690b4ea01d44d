/**
 * What systemd is told of a service with `Type=notify` (sd_notify(3)): that it has started, what it does, and, as long as
 * it does its work, that it lives. Without systemd (`NOTIFY_SOCKET` is not set) nothing is told.
 */
import {
  AF_UNIX,
  HOST_IS_LITTLE_ENDIAN,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
} from '../agent/capture/linux/constants.ts';
import { loadLibc, type Libc } from '../agent/capture/linux/libc.ts';
import type { Clock, Timer } from '../common/clock.ts';
import { messageOf, PlasmawatchError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import { plainText } from '../common/plain-text.ts';

/** Pings in the time after which systemd ends the service: some may be late on a busy machine. */
const PINGS_PER_DEADLINE = 4;
/** How often systemd hears of the service at least. */
const STATUS_INTERVAL_MS = 5000;
/** Longer is cut: it is one line of `systemctl status`. */
const MAX_STATUS_LENGTH = 1000;
/** Room for a path in `struct sockaddr_un`, its last NUL included (unix(7)). */
const MAX_PATH_BYTES = 108;

/** What a service does now. */
export interface ServiceState {
  /** One line for `systemctl status`. */
  readonly status: string;
  /** Why the service does not do its work, where a new start may help: then systemd is not told that it lives. */
  readonly fault?: string | undefined;
}

interface SystemdOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly logger: Pick<Logger, 'error' | 'warn'>;
  /** Asked before each message. */
  readonly state: () => ServiceState;
}

export class Systemd {
  readonly #options: SystemdOptions;
  readonly #deadlineMs: number | undefined;
  #socket: NotifySocket | undefined;
  #timer: Timer | undefined;
  #shownStatus = '';
  #fault: string | undefined;
  #hasFailed = false;

  constructor(options: SystemdOptions) {
    this.#options = options;
    this.#deadlineMs = watchdogDeadlineMs(options.env);
  }

  /** Says that the service has started. From now on it says every few seconds what the service does. */
  async ready(): Promise<void> {
    const { clock, env, logger } = this.#options;
    const address = env['NOTIFY_SOCKET'] ?? '';
    if (address === '') return;
    try {
      this.#socket = await NotifySocket.open(address);
    } catch (error) {
      if (!(error instanceof PlasmawatchError)) throw error;
      const remedy = 'it ends this service soon: mend that, or set Type=exec and WatchdogSec=0 in the unit';
      logger.error({ code: error.code }, `systemd cannot be notified: ${messageOf(error)}; ${remedy}`);
      return;
    }
    this.#report(['READY=1']);
    const intervalMs = Math.min(STATUS_INTERVAL_MS, (this.#deadlineMs ?? Infinity) / PINGS_PER_DEADLINE);
    this.#timer = clock.every(intervalMs, () => this.#report([]));
  }

  /** Shows a changed status at once. */
  update(): void {
    this.#report([]);
  }

  /** Says that the service ends by its own will. Nothing is said after it. */
  stopping(): void {
    this.#timer?.cancel();
    this.#send(['STOPPING=1']);
    this.#socket = undefined;
  }

  #report(words: string[]): void {
    if (this.#socket === undefined) return;
    const { status, fault } = this.#options.state();
    this.#noteFault(fault);
    if (this.#deadlineMs !== undefined && fault === undefined) words.push('WATCHDOG=1');
    const shown = plainText(fault === undefined ? status : `not working: ${fault}`).slice(
      0,
      MAX_STATUS_LENGTH,
    );
    if (shown !== this.#shownStatus) words.push(`STATUS=${shown}`);
    this.#shownStatus = shown;
    if (words.length > 0) this.#send(words);
  }

  #noteFault(fault: string | undefined): void {
    if (fault === this.#fault) return;
    this.#fault = fault;
    if (fault === undefined) return;
    this.#options.logger.error(
      { reason: fault },
      'the service does not do its work: no more pings to systemd',
    );
  }

  #send(words: readonly string[]): void {
    try {
      this.#socket?.send(words.join('\n'));
      this.#hasFailed = false;
    } catch (error) {
      if (!(error instanceof PlasmawatchError)) throw error;
      // The next ping may get through; systemd waits for some of them.
      if (!this.#hasFailed)
        this.#options.logger.warn({ reason: messageOf(error) }, 'systemd was not notified');
      this.#hasFailed = true;
      this.#shownStatus = '';
    }
  }
}

/**
 * After how long without a ping systemd ends this process; undefined where it does not wait for pings
 * (sd_watchdog_enabled(3)).
 */
function watchdogDeadlineMs(env: SystemdOptions['env']): number | undefined {
  const { WATCHDOG_USEC: microseconds, WATCHDOG_PID: pid } = env;
  if (pid !== undefined && pid !== String(process.pid)) return undefined;
  const deadlineMs = Number(microseconds ?? 0) / 1000;
  return deadlineMs > 0 ? deadlineMs : undefined;
}

/** A Unix socket for datagrams, which Node does not have. */
class NotifySocket {
  readonly #libc: Libc;
  readonly #address: Uint8Array;
  readonly #name: string;

  private constructor(libc: Libc, name: string) {
    this.#libc = libc;
    this.#name = name;
    this.#address = unixAddress(name);
  }

  /**
   * @param name a path, or `@` and an abstract name
   * @throws PlasmawatchError PW_CAPTURE_UNAVAILABLE where the C library cannot be called, PW_SYSTEM_CALL for another name
   */
  static async open(name: string): Promise<NotifySocket> {
    return new NotifySocket(await loadLibc(), name);
  }

  /**
   * Sends one message. Does not wait: where the receiver's queue is full, it fails.
   * @throws PlasmawatchError PW_SYSTEM_CALL
   */
  send(message: string): void {
    const fd = this.#libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, this.#name);
    try {
      this.#libc.connect(fd, this.#address, this.#name);
      this.#libc.send(fd, Buffer.from(message), this.#name);
    } finally {
      this.#libc.close(fd);
    }
  }
}

/** `struct sockaddr_un`: the family in the machine's byte order, then the path; an abstract name begins with NUL. */
function unixAddress(name: string): Uint8Array {
  const isAbstract = name.startsWith('@');
  const path = Buffer.from(isAbstract ? `\0${name.slice(1)}` : `${name}\0`);
  if (!/^[@/]/.test(name) || path.length > MAX_PATH_BYTES) {
    throw new PlasmawatchError('PW_SYSTEM_CALL', `connect to ${name}: no address of a Unix socket`);
  }
  const address = new Uint8Array(2 + path.length);
  new DataView(address.buffer).setUint16(0, AF_UNIX, HOST_IS_LITTLE_ENDIAN);
  address.set(path, 2);
  return address;
}
