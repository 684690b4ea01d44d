import { describe, expect, it } from 'vitest';
import { redact } from '../../../agent/evidence/redact.ts';

function redacted(payload: string, headers = ''): string {
  const bytes = Buffer.from(headers + payload, 'latin1');
  redact(bytes, headers.length);
  return bytes.toString('latin1');
}

/** An HTTP/2 frame on stream 1. */
function http2Frame(type: number, body: string): string {
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt32BE(1, 5);
  return head.toString('latin1') + body;
}

describe('the redaction of payload', () => {
  it('masks everything behind a word that announces a secret', () => {
    expect(redacted('GET /nodes\r\nAuthorization: Bearer abc')).toBe(
      'GET /nodes\r\nAuthorization'.padEnd(37, 'x'),
    );
  });

  it('masks words that are long enough to be a key', () => {
    expect(redacted(`key ${'a1-B2'.repeat(5)} end`)).toBe(`key ${'x'.repeat(25)} end`);
  });

  it('masks the header blocks of HTTP/2, whatever their coding, and goes on behind them', () => {
    const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
    const [settings, headers, data] = [
      http2Frame(4, ''),
      http2Frame(1, '\x82\x86\x0a'),
      http2Frame(0, 'plain'),
    ];
    const masked = headers.slice(0, 9) + 'xxx';
    expect(redacted(preface + settings + headers + data)).toBe(preface + settings + masked + data);
  });

  it('masks a header block that the capture cut', () => {
    expect(redacted(http2Frame(1, 'abcdef').slice(0, 12))).toBe(`${http2Frame(1, 'abcdef').slice(0, 9)}xxx`);
  });

  it('leaves the packet headers alone, and the length as it was', () => {
    const headers = 'token '.repeat(9);
    expect(redacted('short', headers)).toBe(`${headers}short`);
  });

  it('leaves what is no secret', () => {
    expect(redacted('\x00\x00\x05\x00\x00\x00\x00\x00\x01hello')).toBe(
      '\x00\x00\x05\x00\x00\x00\x00\x00\x01hello',
    );
  });
});
