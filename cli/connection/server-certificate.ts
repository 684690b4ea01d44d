/** What certificate a collector shows, for a person who compares it before it is trusted. */
import { once } from 'node:events';
import { connect } from 'node:tls';
import { isIP } from 'node:net';

const TIMEOUT_MS = 10_000;

export interface ServerCertificate {
  readonly pem: string;
  /** SHA-256 of the certificate in hex with colons, as `openssl x509 -fingerprint -sha256` prints it. */
  readonly fingerprint: string;
}

/**
 * Asks for the certificate of a server whose authority is not known, and closes. Nothing is sent but the handshake.
 * @throws whatever keeps the handshake from its end
 */
export async function readServerCertificate(url: URL, stopSignal: AbortSignal): Promise<ServerCertificate> {
  const host = url.hostname.replaceAll(/^\[|\]$/g, '');
  const socket = connect({
    host,
    port: url.port === '' ? 443 : Number(url.port),
    ...(isIP(host) === 0 ? { servername: host } : {}),
    // It is looked at and not trusted.
    rejectUnauthorized: false,
  });
  try {
    await once(socket, 'secureConnect', {
      signal: AbortSignal.any([stopSignal, AbortSignal.timeout(TIMEOUT_MS)]),
    });
    const { raw, fingerprint256 } = socket.getPeerCertificate();
    const lines = raw
      .toString('base64')
      .replaceAll(/(.{64})/g, '$1\n')
      .trimEnd();
    return {
      pem: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
      fingerprint: fingerprint256,
    };
  } finally {
    socket.destroy();
  }
}

/** Whether two fingerprints are the same, however they are written: `SHA256:AB:CD`, `abcd`. */
export function isSameFingerprint(left: string, right: string): boolean {
  return /^[0-9a-f]{64}$/.test(hexOf(left)) && hexOf(left) === hexOf(right);
}

function hexOf(fingerprint: string): string {
  return fingerprint
    .replace(/^sha-?256[:=]/i, '')
    .replaceAll(/[:\s]/g, '')
    .toLowerCase();
}
