/** Where the collector is, and whether the agent's token may travel there. */
import { X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { isLoopback, parseAddress } from '../../common/address.ts';
import { messageOf, PlasmawatchError } from '../../common/errors.ts';
import { INGEST_PATH } from '../../common/protocol.ts';

export interface EndpointOptions {
  /** `wss://host:port` or `ws://host:port`. */
  readonly url: string;
  /** The shared secret of agents and collector; none for a collector on loopback that asks for none. */
  readonly token?: string | undefined;
  /** PEM of the authority that signed the collector's certificate; without it the system's authorities count. */
  readonly ca?: string | undefined;
  /** PEM; what the agent shows to a collector that asks for certificates. */
  readonly certificate?: { readonly cert: string; readonly key: string } | undefined;
  /** Allows the token to cross the network in clear. */
  readonly insecure?: boolean | undefined;
}

/**
 * The full URL of the collector's WebSocket, without credentials.
 * @throws PlasmawatchError PW_UPLINK when the URL is none of ours, the token cannot be a header, it would cross the
 *   network in clear, or the CA or the agent's certificate cannot be used
 */
export function resolveEndpoint({
  url: text,
  token,
  ca,
  certificate,
  insecure = false,
}: EndpointOptions): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['ws:', 'wss:'].includes(url.protocol)) {
    throw refusal('the collector URL must look like wss://host:9440 (ws:// on loopback)');
  }
  if (url.username !== '' || url.password !== '') {
    throw refusal(`the collector URL for ${url.host} holds credentials: give the token in a file instead`);
  }
  if (!['', '/', INGEST_PATH].includes(url.pathname) || url.search !== '' || url.hash !== '') {
    throw refusal(`the collector URL for ${url.host} must end after the port, or in ${INGEST_PATH}`);
  }
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token)) {
    throw refusal('the agent token holds characters other than printable ASCII without spaces');
  }
  if (token !== undefined && url.protocol === 'ws:' && !insecure && !isLoopbackHost(url.hostname)) {
    throw refusal(
      `the agent token would cross the network in clear to ${url.host}: use wss://, or set insecure to allow it`,
    );
  }
  if (ca !== undefined && !isCertificate(ca))
    throw refusal("the CA for the collector's certificate is not in PEM");
  if (certificate !== undefined) checkCertificate(certificate, url);
  url.pathname = INGEST_PATH;
  return url;
}

/**
 * Where to connect to. Without TLS a name of loopback becomes an address: another user may listen at the other of the two that it
 * stands for, and a resolver may know one that is none of this machine.
 */
export function addressed(url: URL): URL {
  if (url.protocol !== 'ws:' || !isLoopbackName(url.hostname)) return url;
  const address = new URL(url);
  address.hostname = '127.0.0.1';
  return address;
}

function refusal(message: string): PlasmawatchError {
  return new PlasmawatchError('PW_UPLINK', message, { operation: 'configure' });
}

function checkCertificate(certificate: { readonly cert: string; readonly key: string }, url: URL): void {
  if (url.protocol === 'ws:') {
    throw refusal(`the agent's certificate is of no use for ${url.host} without TLS: use wss://`);
  }
  try {
    createSecureContext(certificate);
  } catch (error) {
    // The messages of OpenSSL quote nothing of the files.
    throw refusal(`cannot use the agent's certificate and key: ${messageOf(error)}`);
  }
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).subject !== undefined;
  } catch {
    return false;
  }
}

function isLoopbackHost(hostname: string): boolean {
  if (isLoopbackName(hostname)) return true;
  const address = parseAddress(hostname.replace(/^\[(.*)\]$/, '$1'));
  return address !== undefined && isLoopback(address);
}

/** RFC 6761, section 6.3. */
function isLoopbackName(hostname: string): boolean {
  return hostname === 'localhost' || hostname.endsWith('.localhost');
}
