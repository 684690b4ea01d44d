/**
 * Who may ask the API for what. A caller proves itself by a bearer token (RFC 6750), which has
 * a name and a role. A route says in its `config` which role it
 * needs; a role includes the ones before it.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyRequest } from 'fastify';

/** What a caller may do: look; look after incidents; everything, agents and rules included. */
export const ROLES = ['viewer', 'responder', 'admin'] as const;
export type Role = (typeof ROLES)[number];

export interface Caller {
  /** Unique among the tokens. */
  readonly name: string;
  readonly role: Role;
}

/** A token of the settings. */
export interface ApiToken extends Caller {
  readonly token: string;
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Who may use the route; `anyone` needs no token. Default: viewers may GET, responders everything else. */
    readonly role?: Role | 'anyone';
  }
  interface FastifyRequest {
    /** Name of who asks; empty where `anyone` may. */
    actor: string;
  }
}

/** Whose token it is that a collector on loopback makes for itself: the user's who started it. */
export const LOCAL_CALLER: Caller = { name: 'local', role: 'admin' };

/**
 * The caller whose token an Authorization header carries. Takes the same time for every wrong token: digests are
 * compared, all of them, so not even the length shows.
 */
export function callerOf(header: string | undefined, tokens: readonly ApiToken[]): Caller | undefined {
  const given = /^Bearer +(\S+)$/i.exec(header ?? '')?.[1];
  if (given === undefined) return undefined;
  const wanted = digest(given);
  let found: Caller | undefined;
  for (const candidate of tokens) if (timingSafeEqual(wanted, digestOfToken(candidate))) found = candidate;
  return found === undefined ? undefined : { name: found.name, role: found.role };
}

/** Made once for a token: a wrong one must not cost as many digests as there are tokens. */
function digestOfToken(candidate: ApiToken): Buffer {
  const known = digests.get(candidate) ?? digest(candidate.token);
  digests.set(candidate, known);
  return known;
}
const digests = new WeakMap<ApiToken, Buffer>();

/** The role that a request's route needs. */
export function roleNeeded({ method, routeOptions }: FastifyRequest): Role | 'anyone' {
  const isReading = method === 'GET' || method === 'HEAD';
  return routeOptions.config?.role ?? (isReading ? 'viewer' : 'responder');
}

/** Whether a caller's role includes the one that is needed. */
export function mayAct({ role }: Caller, needed: Role): boolean {
  return ROLES.indexOf(role) >= ROLES.indexOf(needed);
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
