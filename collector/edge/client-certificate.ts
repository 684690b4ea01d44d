/**
 * Certificates of clients (mutual TLS). The server asks for one and lets everybody through the handshake, so that the
 * health of the collector can be asked without; whoever needs one is judged here.
 */
import type { Duplex } from 'node:stream';
import { TLSSocket, type PeerCertificate } from 'node:tls';

/** Of an URI that names an agent: `spiffe://example.com/plasmawatch/agent/NAME`. */
const AGENT_URI = /^[a-z][a-z0-9+.-]*:\/\/[^?#]*\/agent\/([^/?#]+)$/i;

/** One entry of the alternative names as Node writes them; what needs quoting is in quotes, and no name of an agent. */
const ALTERNATIVE_NAME = /([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^",]*)(?:, |$)/y;

/**
 * Names that the client's certificate, signed by an authority of ours, gives to it: the common name, DNS names, and
 * what stands after `/agent/` in an URI. Undefined without such a certificate.
 */
export function certifiedNames(socket: Duplex): ReadonlySet<string> | undefined {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined;
  const certificate = socket.getPeerCertificate();
  // Node calls a resumed TLS 1.3 session authorized though its first handshake had no certificate at all.
  if (Object.keys(certificate).length === 0) return undefined;
  return namesOf(certificate);
}

/** The names of a certificate; several common names are none. */
export function namesOf({
  subject,
  subjectaltname = '',
}: Pick<PeerCertificate, 'subject' | 'subjectaltname'>): Set<string> {
  const names = new Set<string>();
  const commonName: unknown = subject.CN;
  if (typeof commonName === 'string') names.add(commonName);
  ALTERNATIVE_NAME.lastIndex = 0;
  for (let entry; (entry = ALTERNATIVE_NAME.exec(subjectaltname)) !== null;) {
    const [, kind, value = ''] = entry;
    const name = kind === 'DNS' ? value : kind === 'URI' ? AGENT_URI.exec(value)?.[1] : undefined;
    if (name !== undefined && name !== '') names.add(name);
    if (ALTERNATIVE_NAME.lastIndex >= subjectaltname.length) break;
  }
  return names;
}
