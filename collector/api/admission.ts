/**
 * Whether a request gets as far as its route. It must name a host that is ours (a page in a browser that had its name
 * resolved to loopback does not), must not come from another site's page, and must carry a token whose role the route
 * asks for, and a certificate where those are asked for.
 *
 * It must not come too often, either. Who has shown a token is held to that, wherever the request is from; all others
 * share what their address may ask for. So whoever sits behind the same address cannot use up a caller's share.
 */
import type { FastifyRequest } from 'fastify';
import { isLoopbackHost, parseAddress } from '../../common/address.ts';
import { clientCertificate } from '../edge/client-certificate.ts';
import type { RefusalReason } from '../edge/refusals.ts';
import type { RequestLimits } from '../edge/request-limits.ts';
import { callerOf, mayAct, roleNeeded, type ApiToken, type Caller } from './access.ts';

export interface AdmissionOptions {
  readonly listenHost: string;
  readonly allowedHosts: readonly string[];
  /** What users of the API present; without any, only what anyone may ask is answered. */
  readonly tokens: readonly ApiToken[];
  readonly needsCertificate: boolean;
  readonly requestLimits?: RequestLimits | undefined;
}

/** Why a request is answered here. The message quotes nothing of the request. */
export interface RequestRefusal {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  readonly reason: RefusalReason;
  /** For a request that came too often: when it may come again. */
  readonly waitMs?: number;
}

/**
 * Notes who asks, or says why the request is refused.
 * @param from the address that the request counts for, unless its token says whose it is
 */
export function refusalOf(
  request: FastifyRequest,
  from: string | undefined,
  options: AdmissionOptions,
): RequestRefusal | undefined {
  const { requestLimits, tokens } = options;
  const caller = callerOf(request.headers.authorization, tokens);
  const waitMs =
    caller === undefined ? requestLimits?.takeOfAddress(from) : requestLimits?.takeOfCaller(caller.name);
  return tooOften(waitMs) ?? wrongPlace(request, options) ?? wrongCaller(request, { caller, from }, options);
}

function tooOften(waitMs = 0): RequestRefusal | undefined {
  if (waitMs === 0) return undefined;
  const message = 'too many requests: see the header Retry-After (seconds)';
  return { status: 429, code: 'too-many-requests', message, reason: 'too-many-requests', waitMs };
}

function wrongPlace(
  { headers: { host, origin } }: FastifyRequest,
  options: AdmissionOptions,
): RequestRefusal | undefined {
  if (!isOurHost(host, options)) {
    const message = 'the Host header names no host of this collector (listen.allowedHosts)';
    return { status: 403, code: 'wrong-host', message, reason: 'wrong-host' };
  }
  if (origin !== undefined && !isSameHost(origin, host)) {
    const message = 'requests of other sites are refused';
    return { status: 403, code: 'wrong-origin', message, reason: 'from-a-browser' };
  }
  return undefined;
}

function wrongCaller(
  request: FastifyRequest,
  { caller, from }: { readonly caller: Caller | undefined; readonly from: string | undefined },
  { needsCertificate, requestLimits }: AdmissionOptions,
): RequestRefusal | undefined {
  const needed = roleNeeded(request);
  if (needed === 'anyone') return undefined;
  if (needsCertificate && clientCertificate(request.raw.socket) === undefined) {
    const message = 'a client certificate is needed';
    return { status: 403, code: 'certificate', message, reason: 'no-certificate' };
  }
  if (caller === undefined) {
    requestLimits?.noteFailedLogin(from);
    return {
      status: 401,
      code: 'unauthorized',
      message: 'a bearer token is needed',
      reason: 'wrong-api-token',
    };
  }
  if (!mayAct(caller, needed)) {
    return { status: 403, code: 'role', message: `this needs the role ${needed}`, reason: 'wrong-role' };
  }
  request.actor = caller.name;
  return undefined;
}

/** An address in the Host header was not resolved by anyone, so it is no rebound name. */
function isOurHost(header: string | undefined, { listenHost, allowedHosts }: AdmissionOptions): boolean {
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
