/**
 * The collector's HTTP server: the API, the metrics, and the socket that agents upgrade on.
 *
 * Before a route is asked, a request must name a host that is ours (a page in a browser that had its name resolved
 * to loopback does not), must not come from another site's page, and must carry a token whose role the route asks for.
 */
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { isLoopbackHost, parseAddress } from '../../common/address.ts';
import { messageOf, PlasmawatchError } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import { callerOf, LOCAL_CALLER, mayAct, roleNeeded, type ApiToken } from './access.ts';

const MAX_BODY_BYTES = 16 * 1024;
const MAX_PARAMETER_LENGTH = 200;
/** A request must be here by then; header and body. */
const REQUEST_TIMEOUT_MS = 10_000;

const SETTINGS = {
  bodyLimit: MAX_BODY_BYTES,
  requestTimeout: REQUEST_TIMEOUT_MS,
  forceCloseConnections: true,
  routerOptions: { maxParamLength: MAX_PARAMETER_LENGTH },
};

export interface ServerOptions {
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
  readonly listenHost: string;
  readonly allowedHosts: readonly string[];
  /** What users of the API present; none for a collector on loopback that asks for nothing. */
  readonly tokens: readonly ApiToken[];
  readonly logger: Logger;
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
  const { tls } = options;
  const server = tls === undefined ? Fastify(SETTINGS) : createTlsServer(tls);
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
    done(refusalOf(request, options));
  });
  server.setNotFoundHandler((_request, reply) => sendError(reply, 404, 'not-found', 'there is no such page'));
  server.setErrorHandler((error, _request, reply) => handleError(error, reply, options.logger));
  return server;
}

/** Both kinds of server have the same routes; only the type of the raw request differs, and nothing here uses it. */
function createTlsServer(tls: { cert: string; key: string }): FastifyInstance {
  try {
    const server: unknown = Fastify({ ...SETTINGS, https: { ...tls } });
    return server as FastifyInstance;
  } catch (error) {
    // The messages of OpenSSL name what is wrong with the files and quote nothing of them.
    throw new PlasmawatchError('PW_LISTEN', `cannot use the TLS certificate and key: ${messageOf(error)}`, {
      operation: 'listen',
      cause: error,
    });
  }
}

/** Notes who asks, or says why the request is refused. */
function refusalOf(request: FastifyRequest, { tokens, ...options }: ServerOptions): ApiError | undefined {
  const { host, origin, authorization } = request.headers;
  if (!isOurHost(host, options)) {
    return new ApiError(
      403,
      'wrong-host',
      'the Host header names no host of this collector (listen.allowedHosts)',
    );
  }
  if (origin !== undefined && !isSameHost(origin, host)) {
    return new ApiError(403, 'wrong-origin', 'requests of other sites are refused');
  }
  const needed = roleNeeded(request);
  if (needed === 'anyone') return undefined;
  const caller = tokens.length === 0 ? LOCAL_CALLER : callerOf(authorization, tokens);
  if (caller === undefined) return new ApiError(401, 'unauthorized', 'a bearer token is needed');
  if (!mayAct(caller, needed)) return new ApiError(403, 'role', `this needs the role ${needed}`);
  request.actor = caller.name;
  return undefined;
}

/** An address in the Host header was not resolved by anyone, so it is no rebound name. */
function isOurHost(
  header: string | undefined,
  { listenHost, allowedHosts }: Pick<ServerOptions, 'listenHost' | 'allowedHosts'>,
): boolean {
  const url = header === undefined ? undefined : `http://${header}`;
  if (url === undefined || !URL.canParse(url)) return false;
  const name = new URL(url).hostname.replaceAll(/^\[|\]$/g, '');
  if (isLoopbackHost(name)) return true;
  if ([listenHost, ...allowedHosts].some((allowed) => allowed.toLowerCase() === name)) return true;
  return !isLoopbackHost(listenHost) && parseAddress(name) !== undefined;
}

function isSameHost(origin: string, host: string | undefined): boolean {
  return URL.canParse(origin) && new URL(origin).host === host?.toLowerCase();
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
