/** WebSocket by hand (RFC 6455), for what a client of a library does not send. */
import { request } from 'node:http';
import { request as tlsRequest, type RequestOptions } from 'node:https';
import type { Duplex } from 'node:stream';

const UPGRADE = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
};

export interface Upgrade {
  /** 101, or with what the upgrade was refused. */
  readonly status: number;
  /** The open connection after 101; its errors are ignored. */
  readonly socket: Duplex | undefined;
}

/**
 * Asks for an upgrade at a `ws:` or `wss:` URL.
 * @param options of the request, besides: `localAddress`, `rejectUnauthorized`, `cert`, …
 */
export async function upgrade(
  url: string,
  headers: Readonly<Record<string, string>>,
  options: RequestOptions = {},
): Promise<Upgrade> {
  const send = url.startsWith('wss:') ? tlsRequest : request;
  const sent = send(url.replace(/^ws/, 'http'), { ...options, headers: { ...UPGRADE, ...headers } });
  sent.end();
  return new Promise((resolve, reject) => {
    sent.on('response', (response) => {
      response.resume();
      resolve({ status: response.statusCode ?? 0, socket: undefined });
    });
    sent.on('upgrade', (_response, socket) => {
      socket.on('error', () => {});
      resolve({ status: 101, socket });
    });
    sent.on('error', reject);
  });
}

/** A text frame with a mask of zeros, which leaves the payload readable (section 5.2). */
export function textFrame(text: string, { isLast = true } = {}): Buffer {
  const payload = Buffer.from(text);
  const first = (isLast ? 0x80 : 0) | 1;
  const head = payload.length < 126 ? Buffer.alloc(2) : Buffer.alloc(payload.length < 65_536 ? 4 : 10);
  head[0] = first;
  if (head.length === 2) head[1] = 0x80 | payload.length;
  if (head.length === 4) head.writeUInt16BE(payload.length, 2);
  if (head.length === 10) head.writeBigUInt64BE(BigInt(payload.length), 2);
  if (head.length > 2) head[1] = 0x80 | (head.length === 4 ? 126 : 127);
  return Buffer.concat([head, Buffer.alloc(4), payload]);
}
