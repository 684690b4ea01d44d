/**
 * Who may come in as which agent. An admin makes a token for one name, which holds for a short time and is exchanged
 * once: the agent chooses a key, tells its digest, and comes in with it from then on. A name that was enrolled is open
 * to its key only, and not to the token that all agents share.
 *
 * An exchange whose answer was lost may be repeated with the same key, as long as the token holds.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../common/clock.ts';
import type { Hello } from '../../common/protocol.ts';
import { digestOf } from '../../common/secret.ts';
import { bearerOf, isAuthorized } from '../ingest/token.ts';
import type { Store } from '../store/store.ts';

const TOKEN_BYTES = 32;

/** What an agent presented before it said its name. */
export type Credential =
  | { readonly kind: 'shared' }
  | { readonly kind: 'key'; readonly agent: string }
  | { readonly kind: 'token'; readonly agent: string; readonly digest: string };

export interface EnrolmentsOptions {
  readonly store: Store;
  readonly clock: Pick<Clock, 'now'>;
  /** What all agents share; undefined where nothing is asked for. */
  readonly token: string | undefined;
  /** Whether an agent needs a key of its own. */
  readonly enrolledOnly: boolean;
  readonly tokenLifeMs: number;
  /** Names that may be enrolled. */
  readonly maxAgents: number;
}

export class Enrolments {
  readonly #options: EnrolmentsOptions;

  constructor(options: EnrolmentsOptions) {
    this.#options = options;
  }

  /**
   * A one-time token for a name; undefined when there are too many names already. It is shown once and not kept.
   * @param actor who asks for it, for the audit log
   * @throws PlasmawatchError PW_STORE
   */
  issue(agent: string, actor: string): { readonly token: string; readonly expiresMs: number } | undefined {
    const { store, clock, tokenLifeMs, maxAgents } = this.#options;
    const nowMs = clock.now();
    const token = randomBytes(TOKEN_BYTES).toString('base64url');
    const expiresMs = nowMs + tokenLifeMs;
    return store.transaction(() => {
      if (!store.enrolments.has(agent) && store.enrolments.count() >= maxAgents) return undefined;
      store.enrolments.issue(agent, digestOf(token), { nowMs, expiresMs });
      store.audit.add({ atMs: nowMs, actor, action: 'agent.enrol', subject: agent, details: {} });
      return { token, expiresMs };
    });
  }

  /** Names whose one-time token holds and was not exchanged yet. */
  pending(limit: number): { readonly agent: string; readonly expiresMs: number }[] {
    const { store, clock } = this.#options;
    return store.enrolments.pending(clock.now(), limit);
  }

  /**
   * Takes a one-time token back that was not exchanged; a key that the name has stays. Whether there was one.
   * @param actor who asks for it, for the audit log
   * @throws PlasmawatchError PW_STORE
   */
  revoke(agent: string, actor: string): boolean {
    const { store, clock } = this.#options;
    const nowMs = clock.now();
    return store.transaction(() => {
      if (!store.enrolments.revokeToken(agent, nowMs)) return false;
      store.audit.add({ atMs: nowMs, actor, action: 'agent.enrol-revoke', subject: agent, details: {} });
      return true;
    });
  }

  /**
   * What an Authorization header proves; undefined where that is nothing.
   * @throws PlasmawatchError PW_STORE
   */
  identify(header: string | undefined): Credential | undefined {
    const { store, clock, token, enrolledOnly } = this.#options;
    const bearer = bearerOf(header);
    if (bearer !== undefined) {
      const digest = digestOf(bearer);
      const agent = store.enrolments.agentOfKey(digest);
      if (agent !== undefined) return { kind: 'key', agent };
      const enrolment = store.enrolments.byToken(digest);
      if (enrolment !== undefined && clock.now() < (enrolment.expiresMs ?? 0)) {
        return { kind: 'token', agent: enrolment.agent, digest };
      }
    }
    return !enrolledOnly && isAuthorized(header, token) ? { kind: 'shared' } : undefined;
  }

  /**
   * Whether an agent may have the name that it says, by what it presented; a one-time token is exchanged by that.
   * @throws PlasmawatchError PW_STORE
   */
  admits({ agent, keyDigest }: Pick<Hello, 'agent' | 'keyDigest'>, credential: Credential): boolean {
    const { enrolments } = this.#options.store;
    if (credential.kind === 'shared') return !enrolments.isBound(agent);
    if (credential.agent !== agent) return false;
    return credential.kind === 'key' || this.#exchange(credential.digest, keyDigest);
  }

  #exchange(tokenDigest: string, keyDigest: string | undefined): boolean {
    const { store, clock } = this.#options;
    return store.transaction(() => {
      const enrolment = store.enrolments.byToken(tokenDigest);
      if (enrolment === undefined || keyDigest === undefined) return false;
      const { agent, expiresMs, exchangedFor } = enrolment;
      if (clock.now() >= (expiresMs ?? 0) || (exchangedFor ?? keyDigest) !== keyDigest) return false;
      store.enrolments.exchange(agent, keyDigest, clock.now());
      return true;
    });
  }
}
