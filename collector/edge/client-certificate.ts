/**
 * Certificates of clients (mutual TLS). The server asks for one and lets everybody through the handshake, so that the
 * health of the collector can be asked without; whoever needs one is judged here.
 *
 * The authority signs for users of the API too, so its signature alone makes nobody an agent. An agent's certificate says
 * so: its only URI is `plasmawatch:/agent/NAME` or a SPIFFE ID (https://spiffe.io) whose path ends in `/agent/NAME`.
 * Common names and DNS names are not looked at: they belong to whoever the authority signs them for.
 */
import type { Duplex } from 'node:stream';
import { TLSSocket, type PeerCertificate } from 'node:tls';
import { agentNameSchema } from '../../common/protocol.ts';

/** A scheme of ours, for SPIFFE a trust domain too, and a path of plain segments: no query, no escape, no empty segment. */
const AGENT_URI =
  /^(?:plasmawatch:(?:\/\/[A-Za-z0-9._-]*)?|spiffe:\/\/[A-Za-z0-9._-]+)((?:\/[A-Za-z0-9._:-]+)+)$/;

/** One entry of the alternative names as Node writes them; what needs quoting is in quotes, and no name of an agent. */
const ALTERNATIVE_NAME = /([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^",]*)(?:, |$)/y;

/** What a certificate that an authority of ours signed says of its holder. */
export interface ClientCertificate {
  /** The agent whose certificate it is; undefined for that of anybody else. */
  readonly agent: string | undefined;
}

/** The client's certificate; undefined without one that an authority of ours signed. */
export function clientCertificate(socket: Duplex): ClientCertificate | undefined {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined;
  const certificate = socket.getPeerCertificate();
  // Node calls a resumed TLS 1.3 session authorized though its first handshake had no certificate at all.
  if (Object.keys(certificate).length === 0) return undefined;
  return { agent: certifiedAgent(certificate) };
}

/** The agent that a certificate names. One with several URIs names nobody: which of them holds would be a guess. */
export function certifiedAgent({
  subjectaltname = '',
}: Pick<PeerCertificate, 'subjectaltname'>): string | undefined {
  const [uri, ...others] = urisOf(subjectaltname) ?? [];
  return uri === undefined || others.length > 0 ? undefined : agentOf(uri);
}

function agentOf(uri: string): string | undefined {
  const segments = AGENT_URI.exec(uri)?.[1]?.split('/').slice(1);
  const name = segments?.pop();
  if (segments?.pop() !== 'agent' || name === undefined) return undefined;
  if ([name, ...segments].some((segment) => segment === '.' || segment === '..')) return undefined;
  return agentNameSchema.safeParse(name).success ? name : undefined;
}

/** The URIs among alternative names; undefined where an entry cannot be read, since what follows it could be forged. */
function urisOf(subjectaltname: string): string[] | undefined {
  const uris: string[] = [];
  ALTERNATIVE_NAME.lastIndex = 0;
  while (ALTERNATIVE_NAME.lastIndex < subjectaltname.length) {
    const entry = ALTERNATIVE_NAME.exec(subjectaltname);
    if (entry === null) return undefined;
    const [, kind, value = ''] = entry;
    if (kind === 'URI') uris.push(value);
  }
  return uris;
}
