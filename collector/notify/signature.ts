/** Signatures of Standard Webhooks: `v1` (HMAC-SHA256) and `v1a` (Ed25519), several at once while keys change. */
import { createPrivateKey, sign as signWith, type KeyObject } from 'node:crypto';
import { Webhook } from 'standardwebhooks';
import { PlasmawatchError } from '../../common/errors.ts';

const MAX_SECRETS = 4;
const ED25519_PREFIX = 'whsk_';
const SEED_LENGTH = 32;
/** What PKCS #8 has before the seed of an Ed25519 key (RFC 8410, section 7). */
const PKCS8_HEAD = Buffer.from('302e020100300506032b657004220420', 'hex');

/** The value of `webhook-signature`, signatures separated by spaces; `timestamp` in seconds since the epoch. */
export type Sign = (id: string, timestamp: number, body: string) => string;

/**
 * @param secrets one a line, at most four: the first is the current one, those of before stay until the other side has
 *   changed over
 * @param name whose secrets they are, for messages
 * @throws PlasmawatchError PW_SECRET, without quoting anything
 */
export function createSigner(secrets: string, name = 'webhook signing secret'): Sign {
  const lines = secrets
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  if (lines.length === 0 || lines.length > MAX_SECRETS) {
    throw new PlasmawatchError('PW_SECRET', `${name}: expected 1 to ${MAX_SECRETS} lines`);
  }
  const signers = lines.map((line) => {
    const isEd25519 = line.startsWith(ED25519_PREFIX);
    const signer = isEd25519 ? ed25519Signer(line) : hmacSigner(line);
    if (signer !== undefined) return signer;
    const wanted = isEd25519
      ? 'base64 of an Ed25519 key of 32 or 64 bytes after whsk_'
      : 'base64, with or without whsec_';
    throw new PlasmawatchError('PW_SECRET', `${name}: expected ${wanted}`);
  });
  return (id, timestamp, body) => signers.map((sign) => sign(id, timestamp, body)).join(' ');
}

/** Undefined for what is no secret: the package's message may quote what it could not decode. */
function hmacSigner(secret: string): Sign | undefined {
  try {
    const webhook = new Webhook(secret);
    return (id, timestamp, body) => webhook.sign(id, new Date(timestamp * 1000), body);
  } catch {
    return undefined;
  }
}

/** The package knows `v1` only. */
function ed25519Signer(secret: string): Sign | undefined {
  const key = readEd25519Key(secret.slice(ED25519_PREFIX.length));
  if (key === undefined) return undefined;
  return (id, timestamp, body) =>
    `v1a,${signWith(null, Buffer.from(`${id}.${timestamp}.${body}`), key).toString('base64')}`;
}

/** Base64 of the seed, with or without the public key after it. */
function readEd25519Key(base64: string): KeyObject | undefined {
  const bytes = Buffer.from(base64, 'base64');
  const isBase64 = bytes.toString('base64').replaceAll('=', '') === base64.replaceAll('=', '');
  if (!isBase64 || (bytes.length !== SEED_LENGTH && bytes.length !== 2 * SEED_LENGTH)) return undefined;
  const key = Buffer.concat([PKCS8_HEAD, bytes.subarray(0, SEED_LENGTH)]);
  return createPrivateKey({ key, format: 'der', type: 'pkcs8' });
}
