/**
 * The collector's API, for the commands that ask it: where the collector is, who asks, and one line that says what to
 * do where it does not answer as it should.
 */
import { once } from 'node:events';
import { request as requestHttp, type IncomingMessage } from 'node:http';
import { request as requestHttps } from 'node:https';
import { z } from 'zod';
import { systemClock } from '../common/clock.ts';
import { messageOf, PlasmawatchError, systemCodeOf } from '../common/errors.ts';
import { parseJson } from '../common/json.ts';
import { plainText } from '../common/plain-text.ts';
import type { Terminal } from './command.ts';
import {
  collectorOptions,
  isLoopback,
  settleConnection,
  type CollectorCommandOptions,
  type Connection,
} from './connection/settings.ts';
import { findApiToken } from './local-tokens.ts';

/** From the connection to the last byte of the answer. */
const TIMEOUT_MS = 30_000;
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

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
  readonly #connection: Connection;
  readonly #base: URL;
  readonly #token: string | undefined;
  /** Where the token is from, for messages. */
  readonly #tokenPlace: string;
  readonly #stopSignal: AbortSignal;
  #answeredMs: number | undefined;

  private constructor(connection: Connection, local: LocalToken | undefined, stopSignal: AbortSignal) {
    this.#connection = connection;
    this.#base = local?.base ?? connection.base;
    this.#token = connection.token ?? local?.token;
    this.#tokenPlace = connection.tokenOrigin ?? local?.file ?? '';
    this.#stopSignal = stopSignal;
  }

  /**
   * Takes flags before the environment, and that before the profile. Nothing is sent yet.
   * @throws PlasmawatchError as `settleConnection`
   */
  static async create(
    options: CollectorCommandOptions,
    { env, stopSignal }: Pick<Terminal, 'env' | 'stopSignal'>,
    readProfile?: Parameters<typeof settleConnection>[2],
  ): Promise<CollectorClient> {
    const connection = await settleConnection(options, env, readProfile);
    const { base, token } = connection;
    const local = token === undefined ? await localToken(base, env) : undefined;
    return new CollectorClient(connection, local, stopSignal);
  }

  /**
   * The time by the collector's clock, as its last answer says (RFC 9110, section 6.6.1), in ms since the epoch: the times that
   * it answers are by that clock, and the one of this machine may be hours off.
   */
  get nowMs(): number {
    return this.#answeredMs ?? systemClock.now();
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
    const answer = schema.safeParse(parseJson((await this.#succeed(method, path, body)).toString('utf8')));
    if (answer.success) return answer.data;
    throw fault(
      `${this.#base.host} did not answer as a collector of this version does: is it one? (${this.#connection.urlOrigin}, plasmawatch --version)`,
    );
  }

  /** As `get`, of an answer that is no JSON: its bytes. */
  async getBytes(path: string): Promise<Buffer> {
    return await this.#succeed('GET', path, undefined);
  }

  async #succeed(method: Method, path: string, body: unknown): Promise<Buffer> {
    const { status, bytes } = await this.#exchange(method, path, body);
    if (status < 200 || status > 299) throw this.#refusal(status, bytes.toString('utf8'));
    return bytes;
  }

  /** One request and its whole answer. */
  async #exchange(method: Method, path: string, body: unknown): Promise<{ status: number; bytes: Buffer }> {
    const { ca, certificate } = this.#connection;
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
        ...(ca === undefined ? {} : { ca, allowPartialTrustChain: true }),
        ...(certificate === undefined ? {} : { cert: certificate.cert, key: certificate.key }),
        signal: AbortSignal.any([timeout, this.#stopSignal]),
      });
      const answered = once(request, 'response') as Promise<[IncomingMessage]>;
      request.end(body === undefined ? undefined : JSON.stringify(body));
      const [response] = await answered;
      const dateMs = Date.parse(response.headers.date ?? '');
      if (!Number.isNaN(dateMs)) this.#answeredMs = dateMs;
      return { status: response.statusCode ?? 0, bytes: await readBounded(response) };
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
    const { urlOrigin, caOrigin, certificate } = this.#connection;
    if (code === 'ECONNREFUSED')
      return `connection refused; is it running, and is the URL of ${urlOrigin} right?`;
    if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
      return `there is no such host; is the URL of ${urlOrigin} right?`;
    if (code === 'EPROTO') return 'it does not speak TLS; use http:// on loopback';
    if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
      return `its certificate is for another name than ${this.#base.hostname} (${urlOrigin})`;
    if (code?.startsWith('ERR_OSSL') === true && certificate !== undefined)
      return `the certificate and the key of ${certificate.origin} cannot be used together (${code})`;
    if (code !== undefined && NOT_TRUSTED.test(code)) {
      return caOrigin === undefined
        ? `its certificate is not trusted (${code}); give its authority with --ca-file, or see its fingerprint with plasmawatch login ${this.#base.origin}`
        : `the authority of ${caOrigin} did not sign its certificate (${code})`;
    }
    // Node joins the failures of several addresses into one error without a message.
    return plainText(messageOf(error)) || (code ?? 'connection failed');
  }

  #refusal(status: number, text: string): PlasmawatchError {
    const { base } = this.#connection;
    if (status === 401) {
      return fault(
        this.#token === undefined
          ? `the collector at ${this.#base.host} asks for a token: give --token-file or PLASMAWATCH_API_TOKEN${isLoopback(base) ? ', or run this as the user who started it, or with sudo' : ', or keep one: plasmawatch login'}`
          : `the collector at ${this.#base.host} does not know the token of ${this.#tokenPlace}`,
      );
    }
    const refusal = refusalSchema.safeParse(parseJson(text));
    const reason = refusal.success ? plainText(refusal.data.error.message).slice(0, 500) : 'no reason given';
    if (status === 400) return new PlasmawatchError('PW_USAGE', inWordsOfFlags(reason));
    const isAboutCertificate = status === 403 && /client certificate/.test(reason);
    const advice = isAboutCertificate ? '; give it with --cert and --key, or keep it: plasmawatch login' : '';
    return fault(`the collector refuses that: ${reason}${advice} (HTTP ${status})`);
  }
}

/** Whether a command failed because nothing says that the collector's certificate is to be trusted. */
export function isNotTrusted(error: unknown): boolean {
  const code = error instanceof PlasmawatchError ? (systemCodeOf(error.cause) ?? '') : '';
  return NOT_TRUSTED.test(code) && code !== 'ERR_TLS_CERT_ALTNAME_INVALID';
}

/** Codes of OpenSSL's verification, as Node has them. */
const NOT_TRUSTED = /CERT|SELF_SIGNED|VERIFY|ISSUER/;

/** Fields of requests whose flag has another name. */
const FLAGS: Readonly<Record<string, string>> = { duration: 'for', end: 'until', start: 'from' };

/**
 * What the API says of a field of a request, said of the flag that it comes from: `body.duration: expected …` is
 * `--for: expected …`. A field's flag has the field's name, but for those above.
 */
export function inWordsOfFlags(reason: string): string {
  const [, field, problem] = /^(?:query parameter |body\.)([\w.]+): (.*)$/s.exec(reason) ?? [];
  if (field === undefined || problem === undefined) return reason;
  const name = field.split('.').findLast((part) => !/^\d+$/.test(part)) ?? field;
  const told = problem.replaceAll(/`([a-z][a-z-]*)`/g, (_all, word: string) => `--${FLAGS[word] ?? word}`);
  return name === 'matchers' ? told : `--${FLAGS[name] ?? name}: ${told}`;
}

interface LocalToken {
  readonly base: URL;
  readonly token: string;
  readonly file: string;
}

/** The token that a collector on this machine made for itself, and the address that it is for. */
async function localToken(base: URL, env: Terminal['env']): Promise<LocalToken | undefined> {
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

async function readBounded(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_ANSWER_BYTES) throw fault(`the answer is longer than ${MAX_ANSWER_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function fault(message: string, cause?: unknown): PlasmawatchError {
  return new PlasmawatchError('PW_API', message, { operation: 'ask', cause });
}
