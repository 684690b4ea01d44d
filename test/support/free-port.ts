/** A TCP port that a test can let a program listen on. */
import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * The kernel gives clients the ports from 32768 on (ip_local_port_range, ip(7)). A port below stays free until it is
 * used, and while the program on it is away, whatever other tests connect to.
 */
const FIRST_PORT = 12_288;
const PORTS = 20_480;

/** Each process has 64 of its own. */
let offset = process.pid * 64;

/** A port that is free on a local address. */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  for (let tries = 0; tries < PORTS; tries++) {
    const port = FIRST_PORT + (offset++ % PORTS);
    if (await isFree(port, host)) return port;
  }
  throw new Error(`no port from ${FIRST_PORT} to ${FIRST_PORT + PORTS - 1} is free on ${host}`);
}

async function isFree(port: number, host: string): Promise<boolean> {
  const server = createServer();
  server.listen(port, host);
  try {
    await once(server, 'listening');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return false;
    throw error;
  }
  server.close();
  await once(server, 'close');
  return true;
}
