/** A secret from standard input: it stands in no argument, which every user of the machine can read. */
import { PlasmawatchError } from '../common/errors.ts';

const MAX_BYTES = 8192;

/**
 * All of standard input without the newline at its end.
 * @param name what it is, for messages: `API token`
 * @throws PlasmawatchError PW_SECRET for none, more than one line, or more than 8 KiB
 */
export async function readSecret(name: string, stdin: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of stdin as AsyncIterable<Buffer | string>) {
    const bytes = Buffer.from(chunk as string);
    length += bytes.length;
    if (length > MAX_BYTES)
      throw new PlasmawatchError('PW_SECRET', `${name}: longer than ${MAX_BYTES} bytes on standard input`);
    chunks.push(bytes);
  }
  const secret = Buffer.concat(chunks)
    .toString('utf8')
    .replace(/\r?\n$/, '');
  if (/^[\x21-\x7e]+$/.test(secret)) return secret;
  throw new PlasmawatchError(
    'PW_SECRET',
    secret === ''
      ? `${name}: nothing came on standard input`
      : `${name}: expected one line of printable ASCII without spaces on standard input`,
  );
}
