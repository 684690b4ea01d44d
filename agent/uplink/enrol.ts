/** The exchange of a one-time token for the agent's own key, without an agent that watches. */
import type { ClientOptions, WebSocket } from 'ws';
import type { Clock } from '../../common/clock.ts';
import { PlasmawatchError } from '../../common/errors.ts';
import { MAX_MESSAGE_BYTES, type Hello } from '../../common/protocol.ts';
import type { AgentKey } from './agent-key.ts';
import { addressed, resolveEndpoint, type EndpointOptions } from './endpoint.ts';
import { Session, type SessionEnd } from './session.ts';
import type { Spool } from './spool.ts';

const HANDSHAKE_LIMIT_MS = 10_000;
const HEARTBEAT_INTERVAL_MS = 60_000;

export interface EnrolOptions extends Omit<EndpointOptions, 'token'> {
  /** With the one-time token; confirmed when the collector has taken it. */
  readonly key: AgentKey;
  /** An empty one, which is not used. */
  readonly spool: Spool;
  readonly identity: Pick<Hello, 'agent' | 'version' | 'capture'>;
  readonly clock: Clock;
  readonly connect: (url: URL, options: ClientOptions) => WebSocket;
}

/**
 * Connects once, and says goodbye when the collector has taken the key.
 * @throws PlasmawatchError PW_UPLINK when it does not: then the token holds, and the same key may be tried again
 */
export async function enrolAgent(options: EnrolOptions): Promise<void> {
  const { key, spool, identity, clock, connect, ca, certificate } = options;
  const url = resolveEndpoint({ ...options, token: key.bearer });
  let isWelcome = false;
  const end = await new Promise<SessionEnd>((resolve) => {
    const session = new Session({
      socket: connect(addressed(url), {
        handshakeTimeout: HANDSHAKE_LIMIT_MS,
        maxPayload: MAX_MESSAGE_BYTES,
        perMessageDeflate: false,
        followRedirects: false,
        headers: { authorization: `Bearer ${key.bearer}` },
        ...(ca === undefined ? {} : { ca }),
        ...certificate,
      }),
      spool,
      identity,
      key,
      heartbeat: () => ({}),
      heartbeatIntervalMs: HEARTBEAT_INTERVAL_MS,
      clock,
      ready: () => {
        isWelcome = true;
        session.stop(0);
      },
      sent: () => {},
      ended: resolve,
    });
  });
  if (isWelcome) return;
  const reason = end.reason.includes('HTTP 401')
    ? 'it does not take the one-time token (HTTP 401): it is too old, was exchanged or revoked; make another: plasmawatch agents enrol'
    : end.reason;
  throw new PlasmawatchError('PW_UPLINK', `not enrolled at the collector ${url.host}: ${reason}`, {
    operation: 'enrol',
  });
}
