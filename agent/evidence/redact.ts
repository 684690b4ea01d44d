/**
 * Takes out of a piece of payload what could be a credential, before it is kept: Ray's bearer token crosses the wire
 * in clear, and whoever has it has the cluster.
 *
 * A segment is looked at alone: a token that began in the segment before is recognised only as a long word. That is
 * why payload is kept only where the rules ask for it.
 */
import type { Buffer } from 'node:buffer';

const MASK = 0x78;

/** Behind these words come secrets; everything up to the end of the segment is masked. */
const SECRET_WORDS = /(?:authorization|bearer|cookie|x-api-key|password|passwd|secret|token)/i;
/** A word that is long enough to be a key. */
const LONG_WORD = /[\w+/=.~-]{20,}/g;

const HTTP2_PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const HTTP2_FRAME_HEADER_BYTES = 9;
const HTTP2_LAST_TYPE = 9;
/** HEADERS, PUSH_PROMISE and CONTINUATION (RFC 9113, section 6) carry header values, perhaps Huffman-coded. */
const HTTP2_HEADER_TYPES: ReadonlySet<number> = new Set([1, 5, 9]);

/** Masks, in place, what could be a credential in the TCP payload that begins at `start`. Lengths stay as they were. */
export function redact(bytes: Buffer, start: number): void {
  maskHttp2Headers(bytes, start);
  // One byte is one character, so that positions in the text are positions in the bytes.
  const text = bytes.toString('latin1', start);
  const word = SECRET_WORDS.exec(text);
  if (word !== null) bytes.fill(MASK, start + word.index + word[0].length);
  for (const { index, 0: found } of text.matchAll(LONG_WORD)) {
    bytes.fill(MASK, start + index, start + index + found.length);
  }
}

/** Masks the header blocks of the HTTP/2 frames that follow one another from the segment's start on. */
function maskHttp2Headers(bytes: Buffer, start: number): void {
  const hasPreface = bytes.toString('latin1', start, start + HTTP2_PREFACE.length) === HTTP2_PREFACE;
  let position = hasPreface ? start + HTTP2_PREFACE.length : start;
  while (position + HTTP2_FRAME_HEADER_BYTES <= bytes.length) {
    const length = bytes.readUIntBE(position, 3);
    const type = bytes.readUInt8(position + 3);
    if (type > HTTP2_LAST_TYPE) return;
    const body = position + HTTP2_FRAME_HEADER_BYTES;
    if (HTTP2_HEADER_TYPES.has(type)) bytes.fill(MASK, body, Math.min(body + length, bytes.length));
    position = body + length;
  }
}
