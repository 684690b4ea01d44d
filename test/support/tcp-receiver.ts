/** A real TCP or TLS server on loopback that keeps what it is sent, and answers as a test tells it. */
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';

/** What to do with a connection; what it sends is kept in any case. */
export type Behaviour = (socket: Socket) => void;

/** Takes everything, says nothing, and ends when the other side ends. */
export const take: Behaviour = () => undefined;
export const cut: Behaviour = (socket) => void socket.destroy();

/** Greets, then answers each line by what begins it: `{ 'RCPT': '550 no' }`; all else with 250. */
export function scripted(greeting: string, answers: Readonly<Record<string, string>>): Behaviour {
  return (socket) => {
    socket.write(`${greeting}\r\n`);
    socket.on('data', (chunk: Buffer) => {
      for (const line of chunk.toString('latin1').split('\r\n').filter(Boolean)) {
        const word = Object.keys(answers).find((each) => line.toUpperCase().startsWith(each));
        socket.write(`${word === undefined ? '250 ok' : answers[word]}\r\n`);
      }
    });
  };
}

export class TcpReceiver {
  /** What each connection has sent, in the order of the connections. */
  readonly received: string[] = [];
  behaviour: Behaviour = take;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(tls?: { readonly key: string; readonly cert: string }) {
    const serve = (socket: Socket): void => this.#take(socket);
    this.#server = tls === undefined ? createServer(serve) : createTlsServer(tls, serve);
    this.#server.on('connection', (socket: Socket) => this.#keep(socket));
  }

  /** Listens on a free port of loopback. */
  static async open(tls?: { readonly key: string; readonly cert: string }): Promise<TcpReceiver> {
    const receiver = new TcpReceiver(tls);
    receiver.#server.listen(0, '127.0.0.1');
    await once(receiver.#server, 'listening');
    return receiver;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => this.#sockets.delete(socket));
  }

  #take(socket: Socket): void {
    const index = this.received.push('') - 1;
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      this.received[index] += chunk.toString('utf8');
    });
    this.behaviour(socket);
  }
}
