/** A real HTTP server on loopback that answers as a test tells it, and remembers what it was sent. */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface ReceivedRequest {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** One answer: a status with body and headers (and perhaps no end), a connection that is cut, or silence. */
export type Answer =
  | {
      readonly status: number;
      readonly body?: string;
      readonly headers?: Readonly<Record<string, string>>;
      readonly isEndless?: boolean;
    }
  | 'cut'
  | 'silence';

export class HttpReceiver {
  readonly requests: ReceivedRequest[] = [];
  /** What each of them was answered. */
  readonly given: Answer[] = [];
  /** Answers in turn; the last one stays. */
  answers: Answer[] = [{ status: 200, body: 'ok' }];
  readonly #server = createServer((request, response) => void this.#take(request, response));

  /** Listens on a free port of loopback. */
  static async open(): Promise<HttpReceiver> {
    const receiver = new HttpReceiver();
    receiver.#server.listen(0, '127.0.0.1');
    await once(receiver.#server, 'listening');
    return receiver;
  }

  url(path: string): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}${path}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString('utf8');
    this.requests.push({ path: request.url ?? '', headers: request.headers, body });
    const answer = this.answers.length > 1 ? this.answers.shift() : this.answers[0];
    this.given.push(answer ?? 'silence');
    if (answer === undefined || answer === 'silence') return;
    if (answer === 'cut') {
      request.socket.destroy();
      return;
    }
    response.writeHead(answer.status, answer.headers);
    if (answer.isEndless === true) response.write(answer.body ?? '');
    else response.end(answer.body ?? '');
  }
}
