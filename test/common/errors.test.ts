import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { joinLines, messageOf } from '../../common/errors.ts';
import { freePort } from '../support/free-port.ts';

describe('a message as one line', () => {
  it('has a space for each break with what is blank around it', () => {
    const text = fc.array(fc.constantFrom('a', ' ', '\t', '\n', '\r\n', 'b c'), { maxLength: 20 });
    fc.assert(
      fc.property(text, (parts) => {
        const whole = `x${parts.join('')}y`;
        expect(joinLines(whole)).toBe(whole.replaceAll(/\s*\n\s*/g, ' '));
      }),
    );
  });

  it.each([
    ['refused', wrapped({ code: 'ECONNREFUSED' }), 'connection refused'],
    ['no route', wrapped({ code: 'EHOSTUNREACH' }), 'no route to the host'],
    ['no network', wrapped({ code: 'ENETUNREACH' }), 'no route to the network'],
    ['no answer', wrapped({ code: 'UND_ERR_CONNECT_TIMEOUT' }), 'timed out'],
    ['an own limit of time', new DOMException('aborted', 'TimeoutError'), 'timed out'],
    ['no such name', wrapped({ code: 'ENOTFOUND' }), 'name not found'],
    ['no name server', wrapped({ code: 'EAI_AGAIN' }), 'name not found: no name server answers'],
    ['closed in the answer', wrapped({ code: 'UND_ERR_SOCKET' }), 'connection closed'],
    ['an unknown reason', wrapped({ message: 'unexpected redirect' }), 'unexpected redirect'],
    ['no reason', new TypeError('fetch failed'), 'fetch failed'],
    [
      'each address for a reason of its own',
      new TypeError('fetch failed', {
        cause: new AggregateError([coded('ECONNREFUSED'), coded('ENETUNREACH'), coded('ECONNREFUSED')]),
      }),
      'connection refused, no route to the network',
    ],
    ['something else than a connection', coded('ECONNREFUSED'), 'what the system says'],
  ])('says why a connection failed: %s', (_title, error, expected) => {
    expect(messageOf(error)).toBe(expected);
  });

  it('ends where an error is its own cause', () => {
    const error = new TypeError('fetch failed');
    error.cause = error;
    expect(messageOf(error)).toBe('fetch failed');
  });

  it('says it of a real one', async () => {
    const port = await freePort();
    const failure = await fetch(`http://127.0.0.1:${port}`).catch((error: unknown) => error);
    expect(messageOf(failure)).toBe('connection refused');
  });

  it('is made of a long run of blanks in a time that does not grow with its square', () => {
    const blanks = ' '.repeat(2_000_000);
    expect(messageOf(new Error(`a${blanks}b`))).toBe(`a${blanks}b`);
    expect(messageOf(`a${blanks}\n${blanks}b`)).toBe('a b');
  });
});

function coded(code: string): Error {
  return Object.assign(new Error('what the system says'), { code });
}

/** As `fetch` does it. */
function wrapped({ code, message = 'what the system says' }: { code?: string; message?: string }): Error {
  const cause = Object.assign(new Error(message), code === undefined ? {} : { code });
  return new TypeError('fetch failed', { cause });
}
