/**
 * The collector's API, for the commands that ask it: where the collector is, who asks, and one line that says what to
 * do where it does not answer as it should.
 */
import { once } from 'node:events';
import { request as requestHttp, type IncomingMessage } from 'node:http';
import { request as requestHttps } from 'node:https';
import type { ArgumentsCamelCase } from 'yargs';
import { z } from 'zod';
import { isLoopbackHost } from '../common/address.ts';
import { messageOf, PlasmawatchError, systemCodeOf } from '../common/errors.ts';
import { parseJson } from '../common/json.ts';
import { plainText } from '../common/plain-text.ts';
import { loadPem, loadSecret } from '../common/secret.ts';
import type { Terminal } from './command.ts';
import { findApiToken } from './local-tokens.ts';

/** Where a collector listens that nobody configured. */
export const DEFAULT_COLLECTOR_URL = 'http://127.0.0.1:9440';
/** From the connection to the last byte of the answer. */
const TIMEOUT_MS = 30_000;
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

/** What `collectorOptions` gives a command. */
export interface CollectorCommandOptions {
  readonly collector: string | undefined;
  readonly 'token-file': string | undefined;
  readonly 'ca-file': string | undefined;
}

/** The flags of every command that asks the collector, for yargs' `options`. */
export const collectorOptions = {
  collector: {
    type: 'string',
    requiresArg: true,
    description: `URL of the collector; or PLASMAWATCH_COLLECTOR, else ${DEFAULT_COLLECTOR_URL}`,
  },
  'token-file': {
    type: 'string',
    requiresArg: true,
    description: 'file with a token of the API; or PLASMAWATCH_API_TOKEN, else the one that `up` keeps',
  },
  'ca-file': {
    type: 'string',
    requiresArg: true,
    description: "file with the authority of the collector's certificate (PEM)",
  },
} as const;

/** What `askOptions` gives a command. */
export interface AskCommandOptions extends CollectorCommandOptions {
  readonly json: boolean;
}

/** The flags of a command that asks the collector and prints what it answers. */
export const askOptions = {
  ...collectorOptions,
  json: { type: 'boolean', default: false, description: 'one JSON object a line' },
} as const;

/** A text of an answer: what agents and people wrote is shown without what could move a cursor. */
export const text = z.string().transform(plainText);

type Method = 'GET' | 'POST' | 'DELETE';

/** What the API says when it refuses. */
const refusalSchema = z.looseObject({ error: z.looseObject({ code: z.string(), message: z.string() }) });

export class CollectorClient {
  readonly #base: URL;
  readonly #token: string | undefined;
  /** Where the token is from, for messages. */
  readonly #tokenPlace: string;
  readonly #ca: string | undefined;
  readonly #stopSignal: AbortSignal;

  private constructor(
    base: URL,
    secrets: {
      readonly token: string | undefined;
      readonly tokenPlace: string | undefined;
      readonly ca: string | undefined;
    },
    stopSignal: AbortSignal,
  ) {
    this.#base = base;
    this.#token = secrets.token;
    this.#tokenPlace = secrets.tokenPlace ?? '--token-file or PLASMAWATCH_API_TOKEN';
    this.#ca = secrets.ca;
    this.#stopSignal = stopSignal;
  }

  /**
   * Takes flags before the environment. Nothing is sent yet.
   * @throws PlasmawatchError PW_USAGE for a URL of the wrong form, or one that would show the token to the network;
   *   PW_SECRET for a file that cannot be used
   */
  static async create(
    options: ArgumentsCamelCase<CollectorCommandOptions>,
    { env, stopSignal }: Pick<Terminal, 'env' | 'stopSignal'>,
  ): Promise<CollectorClient> {
    const base = parseCollectorUrl(
      options.collector ?? env['PLASMAWATCH_COLLECTOR'] ?? DEFAULT_COLLECTOR_URL,
    );
    const { tokenFile, caFile } = options;
    const token = await loadSecret(
      'API token',
      tokenFile === undefined ? { value: env['PLASMAWATCH_API_TOKEN'] } : { file: tokenFile },
    );
    if (token !== undefined && !/^[\x21-\x7e]+$/.test(token)) {
      throw new PlasmawatchError('PW_SECRET', 'API token: expected printable ASCII without spaces');
    }
    if (token !== undefined && base.protocol === 'http:' && !isLoopback(base)) {
      throw new PlasmawatchError(
        'PW_USAGE',
        `the token would cross the network in clear to ${base.host}: use https://`,
      );
    }
    const ca = caFile === undefined ? undefined : await loadPem('CA', caFile);
    const local = token === undefined ? await localToken(base, env) : undefined;
    return new CollectorClient(
      local?.base ?? base,
      { token: token ?? local?.token, tokenPlace: local?.file, ca },
      stopSignal,
    );
  }

  /**
   * @param path below the URL, such as `/api/incidents?limit=5`; what a user gave is encoded by the caller
   * @throws PlasmawatchError PW_API when there is no answer, a refusal, or an answer of another shape
   */
  async get<Schema extends z.ZodType>(path: string, schema: Schema): Promise<z.output<Schema>> {
    return await this.#ask('GET', path, schema);
  }

  /** As `get`, with a body of JSON where there is one. */
  async post<Schema extends z.ZodType>(
    path: string,
    schema: Schema,
    body?: unknown,
  ): Promise<z.output<Schema>> {
    return await this.#ask('POST', path, schema, body);
  }

  /** As `get`. */
  async delete<Schema extends z.ZodType>(path: string, schema: Schema): Promise<z.output<Schema>> {
    return await this.#ask('DELETE', path, schema);
  }

  async #ask<Schema extends z.ZodType>(
    method: Method,
    path: string,
    schema: Schema,
    body?: unknown,
  ): Promise<z.output<Schema>> {
    const { status, text } = await this.#exchange(method, path, body);
    if (status < 200 || status > 299) throw this.#refusal(status, text);
    const answer = schema.safeParse(parseJson(text));
    if (answer.success) return answer.data;
    throw fault(
      `${this.#base.host} did not answer as a collector of this version does: is it one? (--collector, plasmawatch --version)`,
    );
  }

  /** One request and its whole answer. */
  async #exchange(method: Method, path: string, body: unknown): Promise<{ status: number; text: string }> {
    const timeout = AbortSignal.timeout(TIMEOUT_MS);
    const send = this.#base.protocol === 'https:' ? requestHttps : requestHttp;
    try {
      const request = send(new URL(this.#base.pathname.replace(/\/$/, '') + path, this.#base), {
        method,
        headers: {
          accept: 'application/json',
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` }),
        },
        ...(this.#ca === undefined ? {} : { ca: this.#ca }),
        signal: AbortSignal.any([timeout, this.#stopSignal]),
      });
      const answered = once(request, 'response') as Promise<[IncomingMessage]>;
      request.end(body === undefined ? undefined : JSON.stringify(body));
      const [response] = await answered;
      return { status: response.statusCode ?? 0, text: await readBounded(response) };
    } catch (error) {
      if (error instanceof PlasmawatchError) throw error;
      throw fault(
        `cannot reach the collector at ${this.#base.host}: ${this.#reasonOf(error, timeout)}`,
        error,
      );
    }
  }

  #reasonOf(error: unknown, timeout: AbortSignal): string {
    if (this.#stopSignal.aborted) return 'interrupted';
    if (timeout.aborted) return `no answer within ${TIMEOUT_MS / 1000} s`;
    const code = systemCodeOf(error);
    if (code === 'ECONNREFUSED') return 'connection refused; is it running, and is --collector right?';
    if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 'there is no such host; is --collector right?';
    if (code === 'EPROTO') return 'it does not speak TLS; use http:// on loopback';
    if (code !== undefined && /CERT|SELF_SIGNED|VERIFY|ISSUER/.test(code)) {
      return `its certificate is not trusted (${code}); give its authority with --ca-file, and the name in it`;
    }
    // Node joins the failures of several addresses into one error without a message.
    return plainText(messageOf(error)) || (code ?? 'connection failed');
  }

  #refusal(status: number, text: string): PlasmawatchError {
    if (status === 401) {
      return fault(
        this.#token === undefined
          ? `the collector at ${this.#base.host} asks for a token: give --token-file or PLASMAWATCH_API_TOKEN${isLoopback(this.#base) ? ', or run this as the user who started it, or with sudo' : ''}`
          : `the collector at ${this.#base.host} does not know the token of ${this.#tokenPlace}`,
      );
    }
    const refusal = refusalSchema.safeParse(parseJson(text));
    const reason = refusal.success ? plainText(refusal.data.error.message).slice(0, 500) : 'no reason given';
    return fault(`the collector refuses that: ${reason} (HTTP ${status})`);
  }
}

function parseCollectorUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isOurs =
    url !== undefined &&
    ['http:', 'https:'].includes(url.protocol) &&
    url.search === '' &&
    url.hash === '' &&
    url.username === '' &&
    url.password === '';
  if (isOurs) return url;
  // Not repeated: it may hold a password.
  throw new PlasmawatchError(
    'PW_USAGE',
    'the URL of the collector (--collector or PLASMAWATCH_COLLECTOR) must look like https://collector.example.com:9440',
  );
}

/** The token that a collector on this machine made for itself, and the address that it is for. */
async function localToken(
  base: URL,
  env: Terminal['env'],
): Promise<{ readonly base: URL; readonly token: string; readonly file: string } | undefined> {
  for (const at of addressesOf(base)) {
    const found = await findApiToken(at, env);
    if (found !== undefined) return { base: at, ...found };
  }
  return undefined;
}

/** A token goes to an address, not to a name: on one of the two of `localhost` another user may listen. */
function addressesOf(base: URL): URL[] {
  if (base.hostname !== 'localhost' || base.protocol !== 'http:') return [base];
  return ['127.0.0.1', '[::1]'].map((host) => {
    const url = new URL(base);
    url.hostname = host;
    return url;
  });
}

function isLoopback({ hostname }: URL): boolean {
  return isLoopbackHost(hostname.replaceAll(/^\[|\]$/g, ''));
}

async function readBounded(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_ANSWER_BYTES) throw fault(`the answer is longer than ${MAX_ANSWER_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function fault(message: string, cause?: unknown): PlasmawatchError {
  return new PlasmawatchError('PW_API', message, { operation: 'ask', cause });
}
