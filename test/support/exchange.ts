/** A connection to an echo server, from beginning to end. */
import { once } from 'node:events';
import { connect } from 'node:net';

/** Sends bytes, takes them back, and closes both sides in order. */
export async function exchange(host: string, port: number, lengthBytes: number): Promise<void> {
  const socket = connect({ host, port, allowHalfOpen: true });
  await once(socket, 'connect');
  let received = 0;
  socket.on('data', (chunk) => {
    received += chunk.length;
  });
  socket.end(Buffer.alloc(lengthBytes, 'plasma'));
  await once(socket, 'end');
  if (received !== lengthBytes) throw new Error(`${received} of ${lengthBytes} bytes came back`);
}
