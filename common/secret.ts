/** Secrets come from a file or the environment, and stay out of messages. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { readTextFile } from './config-file.ts';
import { judgeFile } from './file-trust.ts';
import { PlasmawatchError, systemCodeOf } from './errors.ts';

/** Longer is no token and no webhook URL; bytes. */
const MAX_SECRET_BYTES = 8192;

export interface SecretSource {
  /** The secret itself (from the environment). */
  readonly value?: string | undefined;
  /** Path of a file that holds it; one trailing newline is not part of it. */
  readonly file?: string | undefined;
}

/**
 * The secret, or undefined where none is configured.
 * @param name what it is for, for messages: `agent token`
 * @throws PlasmawatchError PW_SECRET when both are given, the file cannot be read, everybody may write it, or it is
 *   empty or too long
 */
export async function loadSecret(name: string, { value, file }: SecretSource): Promise<string | undefined> {
  if (value !== undefined && file !== undefined) {
    throw new PlasmawatchError('PW_SECRET', `${name}: give the value or the file ${file}, not both`);
  }
  const secret = file === undefined ? value : await readSecretFile(name, file);
  if (secret !== undefined && (secret.trim() === '' || secret.length > MAX_SECRET_BYTES)) {
    throw new PlasmawatchError(
      'PW_SECRET',
      `${name}: expected 1 to ${MAX_SECRET_BYTES} characters, got ${secret.length}`,
    );
  }
  return secret;
}

/**
 * PEM from a file. Not `loadSecret`: a chain of certificates is longer than a token may be.
 * @param name what it is for, for messages: `TLS certificate`
 * @throws PlasmawatchError PW_SECRET
 */
export async function loadPem(name: string, file: string): Promise<string> {
  const { text, problem } = await readTextFile(file);
  if (text?.includes('-----BEGIN ') === true) return text;
  throw new PlasmawatchError('PW_SECRET', `${name} ${file}: ${problem ?? 'expected PEM (-----BEGIN …)'}`, {
    operation: 'read',
    subject: file,
  });
}

/**
 * What stands for a token or a key where it is kept or told: SHA-256 in hex. Secrets of ours are random and long, so a plain
 * digest gives none of them away, and can be looked up.
 */
export function digestOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}

async function readSecretFile(name: string, file: string): Promise<string> {
  const { problem } = await judgeFile(file);
  if (problem !== undefined) {
    throw new PlasmawatchError('PW_SECRET', `${name}: ${file} is refused: ${problem}`, {
      operation: 'read',
      subject: file,
    });
  }
  try {
    return (await readFile(file, 'utf8')).replace(/\r?\n$/, '');
  } catch (error) {
    throw new PlasmawatchError(
      'PW_SECRET',
      `${name}: cannot read ${file}: ${systemCodeOf(error) ?? 'error'}`,
      {
        operation: 'read',
        subject: file,
        cause: error,
      },
    );
  }
}
