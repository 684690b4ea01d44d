/** A last answer on a connection that no server has, or has no longer: the status of HTTP, and the end. */
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';

/** @param headers lines of header fields that go with the status, without line ends */
export function answerAndClose(socket: Duplex, status: number, headers: readonly string[] = []): void {
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
    'Connection: close',
    'Content-Length: 0',
    ...headers,
  ];
  socket.end(`${lines.join('\r\n')}\r\n\r\n`, () => socket.destroy());
}
