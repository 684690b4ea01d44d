/** Connections on which no request came about, or whose answer is not taken. */
import type { Socket } from 'node:net';
import { systemCodeOf } from '../../common/errors.ts';
import { answerAndClose } from './answer.ts';
import type { Refusals } from './refusals.ts';

/** Ends a connection whose request is malformed, too long, or not here in time (Node's 'clientError'). */
export function turnAway(error: Error, socket: Socket, refusals: Refusals | undefined): void {
  const from = socket.remoteAddress ?? 'unknown';
  const code = systemCodeOf(error) ?? '';
  if (code === 'ECONNRESET' || code === 'EPIPE') {
    // It went away by itself.
    socket.destroy();
  } else if (code.startsWith('ERR_SSL') || code.startsWith('ERR_TLS')) {
    refusals?.note('bad-handshake', from);
    socket.destroy();
  } else if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    refusals?.note('slow', from);
    answerAndClose(socket, 408);
  } else {
    refusals?.note('bad-request', from);
    answerAndClose(socket, code === 'HPE_HEADER_OVERFLOW' ? 431 : 400);
  }
}

/** Ends a connection on which nothing moved. One that only waits for its next request is not counted. */
export function endStalled(socket: Socket, refusals: Refusals | undefined): void {
  if (socket.writableLength > 0) refusals?.note('does-not-read', socket.remoteAddress ?? 'unknown');
  socket.destroy();
}
