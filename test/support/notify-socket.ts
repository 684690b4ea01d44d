/** The socket on which systemd hears its services: a Unix socket for datagrams, which Node does not have. */
import { rmSync } from 'node:fs';
import {
  AF_UNIX,
  HOST_IS_LITTLE_ENDIAN,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
} from '../../agent/capture/linux/constants.ts';
import { loadLibc, type Libc } from '../../agent/capture/linux/libc.ts';
import { PlasmawatchError } from '../../common/errors.ts';

export class ReceivingSocket {
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #path: string;

  private constructor(libc: Libc, path: string) {
    this.#libc = libc;
    this.#path = path;
    this.#fd = libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, path);
    // An abstract name begins with NUL and not with `@`.
    const name = Buffer.from(path.startsWith('@') ? `\0${path.slice(1)}` : `${path}\0`);
    const address = Buffer.alloc(2 + name.length);
    if (HOST_IS_LITTLE_ENDIAN) address.writeUInt16LE(AF_UNIX);
    else address.writeUInt16BE(AF_UNIX);
    name.copy(address, 2);
    libc.bind(this.#fd, address, path);
  }

  static async open(path: string): Promise<ReceivingSocket> {
    return new ReceivingSocket(await loadLibc(), path);
  }

  /** The messages that have come since the last call, each as its lines. */
  messages(): string[][] {
    const messages: string[][] = [];
    const bytes = Buffer.alloc(8192);
    try {
      for (;;) {
        const length = this.#libc.receive(this.#fd, bytes, 0, this.#path);
        messages.push(bytes.toString('utf8', 0, length).split('\n'));
      }
    } catch (error) {
      if (!(error instanceof PlasmawatchError) || !error.message.includes('EAGAIN')) throw error;
      return messages;
    }
  }

  close(): void {
    this.#libc.close(this.#fd);
    rmSync(this.#path, { force: true });
  }
}
