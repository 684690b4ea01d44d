/** Bearer tokens (RFC 6750) of agents and of users of the API. */
import { createHash, timingSafeEqual } from 'node:crypto';

/**
 * Whether an Authorization header carries the token. Takes the same time for every wrong token: digests are
 * compared, so not even the length shows. Without a configured token everybody may pass.
 */
export function isAuthorized(header: string | undefined, token: string | undefined): boolean {
  if (token === undefined) return true;
  const given = bearerOf(header);
  return given !== undefined && timingSafeEqual(digest(given), digest(token));
}

/** The token that an Authorization header carries. */
export function bearerOf(header: string | undefined): string | undefined {
  return /^Bearer +(\S+)$/i.exec(header ?? '')?.[1];
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
