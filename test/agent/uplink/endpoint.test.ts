import { describe, expect, it } from 'vitest';
import { addressed, resolveEndpoint, type EndpointOptions } from '../../../agent/uplink/endpoint.ts';

const token = 'a-token-of-the-test';

describe('addressed', () => {
  it.each([
    ['ws://localhost:9440/v1/agent', 'ws://127.0.0.1:9440/v1/agent'],
    ['ws://LOCALHOST:9440/', 'ws://127.0.0.1:9440/'],
    ['ws://a.localhost:9440/', 'ws://127.0.0.1:9440/'],
    ['ws://[::1]:9440/', 'ws://[::1]:9440/'],
    ['ws://localhost.example.com/', 'ws://localhost.example.com/'],
    // With TLS the certificate says who it is, and it is made out to the name.
    ['wss://localhost:9440/', 'wss://localhost:9440/'],
  ])('of %s is %s', (url, expected) => {
    expect(addressed(new URL(url)).href).toBe(expected);
  });
});

describe('the endpoint', () => {
  it.each([
    ['wss://collector.example.com:9440', 'wss://collector.example.com:9440/v1/agent'],
    ['wss://collector.example.com/', 'wss://collector.example.com/v1/agent'],
    ['wss://10.0.0.5:9440/v1/agent', 'wss://10.0.0.5:9440/v1/agent'],
    ['ws://127.0.0.1:9440', 'ws://127.0.0.1:9440/v1/agent'],
    ['ws://[::1]:9440', 'ws://[::1]:9440/v1/agent'],
    ['ws://localhost:9440', 'ws://localhost:9440/v1/agent'],
  ])('of %s with a token is %s', (url, expected) => {
    expect(resolveEndpoint({ url, token }).href).toBe(expected);
  });

  it('may be in clear without a token, and with one when insecure is set', () => {
    expect(resolveEndpoint({ url: 'ws://10.0.0.5:9440' }).host).toBe('10.0.0.5:9440');
    expect(resolveEndpoint({ url: 'ws://10.0.0.5:9440', token, insecure: true }).host).toBe('10.0.0.5:9440');
  });

  it.each<[string, EndpointOptions, RegExp]>([
    ['no URL', { url: 'collector:port' }, /must look like wss:/],
    ['an http URL', { url: 'https://collector:9440' }, /must look like wss:/],
    ['credentials', { url: `wss://me:${token}@collector:9440` }, /holds credentials/],
    ['a token in the query', { url: `wss://collector:9440/?token=${token}` }, /must end after the port/],
    ['another path', { url: 'wss://collector:9440/v2' }, /must end after the port/],
    ['a token with a line break', { url: 'wss://collector:9440', token: `${token}\nx` }, /printable ASCII/],
    [
      'a token in clear',
      { url: 'ws://10.0.0.5:9440', token },
      /would cross the network in clear to 10\.0\.0\.5:9440/,
    ],
    [
      'a token in clear to a name',
      { url: 'ws://localhost.example.com:9440', token },
      /would cross the network/,
    ],
    [
      'a certificate that is none',
      { url: 'wss://collector:9440', certificate: { cert: 'nothing', key: token } },
      /cannot use the agent's certificate and key/,
    ],
    [
      'a certificate without TLS',
      { url: 'ws://127.0.0.1:9440', certificate: { cert: 'nothing', key: token } },
      /of no use for 127\.0\.0\.1:9440 without TLS/,
    ],
    ['a CA that is none', { url: 'wss://collector:9440', ca: 'not a certificate' }, /not in PEM/],
  ])('with %s is refused in one line that holds no secret', (_name, options, expected) => {
    const error = failureOf(() => resolveEndpoint(options));
    expect(error).toMatchObject({ code: 'PW_UPLINK' });
    const { message } = error;
    expect(message).toMatch(expected);
    expect(message).not.toContain(token);
    expect(message).not.toContain('\n');
  });
});

function failureOf(work: () => unknown): Error {
  try {
    work();
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected a refusal');
}
