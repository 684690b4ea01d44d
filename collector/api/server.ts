/**
 * The collector's HTTP server: the API, the metrics, and the socket that agents upgrade on.
 */
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { createSecureContext, Server as TlsServer, type SecureContextOptions } from 'node:tls';
import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify';
import { messageOf, PlasmawatchError } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import type { Refusals } from '../edge/refusals.ts';
import { clientAddress, type IsTrustedProxy } from '../edge/source.ts';
import { endStalled, turnAway } from '../edge/unfinished.ts';
import { refusalOf, type AdmissionOptions } from './admission.ts';

const MAX_BODY_BYTES = 16 * 1024;
const MAX_PARAMETER_LENGTH = 200;
/** TLS's handshake, and then a request with header and body, must be here by then. */
const REQUEST_TIMEOUT_MS = 10_000;
/** How often the requests under way are looked at; Node's own 30 s would let them take 40 s. */
const LOOK_INTERVAL_MS = 1000;
/** A connection on which nothing moves, in either direction, is closed after this: its peer does not read the answer. */
const STALLED_TIMEOUT_MS = 30_000;

const HTTP_SETTINGS = {
  headersTimeout: REQUEST_TIMEOUT_MS,
  connectionsCheckingInterval: LOOK_INTERVAL_MS,
};

/** All PEM. */
export interface ServerTls {
  readonly cert: string;
  readonly key: string;
  /** The authority of clients' certificates; without one they need none. */
  readonly clientCa?: string | undefined;
}

export interface ServerOptions extends Omit<AdmissionOptions, 'needsCertificate'> {
  /** Whose word about the addresses of their clients is taken; nobody's when left out. */
  readonly isTrustedProxy?: IsTrustedProxy | undefined;
  readonly tls?: ServerTls | undefined;
  readonly logger: Logger;
  /** Where those are counted who are refused, or never get as far as a request. */
  readonly refusals?: Refusals | undefined;
}

/** An answer other than success. The message is ours and quotes no more of the request than a body that a person wrote. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.code = code;
  }
}

/**
 * A server without routes; the caller adds them and closes it.
 * @throws PlasmawatchError PW_LISTEN when certificate and key are unusable
 */
export function createServer(options: ServerOptions): FastifyInstance {
  const { tls, refusals, isTrustedProxy = () => false } = options;
  const settings = settingsFor(refusals);
  const server =
    tls === undefined ? Fastify({ ...settings, http: HTTP_SETTINGS }) : createTlsServer(settings, tls);
  server.server.on('timeout', (socket: Socket) => endStalled(socket, refusals));
  // Routes take JSON only, which no form of another site can send; any other body is read within the limit and ignored.
  server.removeAllContentTypeParsers();
  const parseJson = server.getDefaultJsonParser('error', 'error');
  server.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    // Clients that always say JSON send no body with an acknowledgement.
    if (body === '') done(null);
    else void parseJson(request, body as string, done);
  });
  server.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, _body, done) => done(null));
  server.decorateRequest('actor', '');
  server.addHook('onRequest', (request, reply, done) => {
    void reply.headers({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
    const { socket, headers } = request.raw;
    const from = clientAddress(socket.remoteAddress, headers['x-forwarded-for'], isTrustedProxy);
    const refusal = refusalOf(request, from, { ...options, needsCertificate: tls?.clientCa !== undefined });
    if (refusal === undefined) return done();
    refusals?.note(refusal.reason, from ?? 'unknown');
    if (refusal.waitMs !== undefined) void reply.header('retry-after', Math.ceil(refusal.waitMs / 1000));
    done(new ApiError(refusal.status, refusal.code, refusal.message));
  });
  // The framework does it only after its own `listen`: an open connection does not keep the collector from its end.
  server.addHook('preClose', (done) => {
    server.server.closeAllConnections();
    done();
  });
  server.setNotFoundHandler((_request, reply) => sendError(reply, 404, 'not-found', 'there is no such page'));
  server.setErrorHandler((error, _request, reply) => handleError(error, reply, options.logger));
  return server;
}

/**
 * Listens. Not the framework's own `listen`: of a wildcard it asks for all addresses of the machine, for a line of its log,
 * which needs a netlink socket that the collector's unit does not allow.
 */
export async function listen(server: FastifyInstance, host: string, port: number): Promise<void> {
  await server.ready();
  server.server.listen({ host, port });
  await once(server.server, 'listening');
}

function settingsFor(refusals: Refusals | undefined) {
  return {
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionTimeout: STALLED_TIMEOUT_MS,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: MAX_PARAMETER_LENGTH },
    clientErrorHandler: (error: Error, socket: Socket) => turnAway(error, socket, refusals),
  };
}

/** Both kinds of server have the same routes; only the type of the raw request differs, and nothing here uses it. */
function createTlsServer(
  settings: ReturnType<typeof settingsFor>,
  { cert, key, clientCa }: ServerTls,
): FastifyInstance {
  const mutual = clientCa === undefined ? {} : { requestCert: true, rejectUnauthorized: false };
  const context = secureContextOptions({ cert, key, clientCa });
  const https = { ...HTTP_SETTINGS, handshakeTimeout: REQUEST_TIMEOUT_MS, ...context, ...mutual };
  const server: unknown = Fastify({ ...settings, https });
  return server as FastifyInstance;
}

/**
 * New connections are served with this certificate from now on.
 * @throws PlasmawatchError PW_LISTEN when certificate and key are unusable
 */
export function replaceCertificate({ server }: FastifyInstance, tls: ServerTls): void {
  if (server instanceof TlsServer) server.setSecureContext(secureContextOptions(tls));
}

/**
 * Certificate and key as Node takes them.
 * @throws PlasmawatchError PW_LISTEN when they are unusable
 */
export function secureContextOptions({ cert, key, clientCa }: ServerTls): SecureContextOptions {
  const options = { cert, key, ...(clientCa === undefined ? {} : { ca: clientCa }) };
  try {
    createSecureContext(options);
    return options;
  } catch (error) {
    // The messages of OpenSSL name what is wrong with the files and quote nothing of them.
    throw new PlasmawatchError('PW_LISTEN', `cannot use the TLS certificate and key: ${messageOf(error)}`, {
      operation: 'listen',
      cause: error,
    });
  }
}

/** Our own answers and the framework's refusals (a body too large) are told; anything else is logged and stays inside. */
function handleError(error: unknown, reply: FastifyReply, logger: Logger): FastifyReply {
  if (error instanceof ApiError) {
    if (error.status === 401) void reply.header('www-authenticate', 'Bearer');
    return sendError(reply, error.status, error.code, error.message);
  }
  const status = statusOf(error);
  if (status !== undefined && status >= 400 && status < 500) {
    return sendError(reply, status, 'bad-request', 'the request could not be read');
  }
  logger.error({ err: error }, 'a request failed');
  return sendError(reply, 500, 'internal', 'the collector could not answer; its log says why');
}

function statusOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('statusCode' in error)) return undefined;
  return typeof error.statusCode === 'number' ? error.statusCode : undefined;
}

function sendError(reply: FastifyReply, status: number, code: string, message: string): FastifyReply {
  return reply.code(status).send({ error: { code, message } });
}
