/**
 * The provider of named hosts: addresses as they are, names through the resolver, asked again at intervals. A name
 * that does not resolve at the moment keeps its last addresses.
 */
import { parseAddress, type Address } from '../../common/address.ts';
import type { Clock, Timer } from '../../common/clock.ts';
import { messageOf } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import type { Member, Provider } from './provider.ts';

const RESOLVE_INTERVAL_MS = 30_000;

interface HostsDependencies {
  readonly clock: Clock;
  readonly logger: Logger;
  /** All addresses of a name, as text. */
  readonly resolve: (name: string) => Promise<readonly string[]>;
}

/** A provider of hosts, each an address or a name. */
export function createHostsProvider(
  hosts: readonly string[],
  { clock, logger, resolve }: HostsDependencies,
): Provider {
  const known = new Map<string, readonly Address[]>();
  const failing = new Set<string>();
  let timer: Timer | undefined;
  let isStopped = false;

  async function lookUp(host: string): Promise<void> {
    const literal = parseAddress(host);
    if (literal !== undefined) {
      known.set(host, [literal]);
      return;
    }
    try {
      const addresses = (await resolve(host)).map(parseAddress).filter((found) => found !== undefined);
      known.set(host, addresses);
      if (failing.delete(host)) logger.info({ host }, 'host name resolves again');
    } catch (error) {
      if (!failing.has(host)) logger.warn({ host, reason: messageOf(error) }, 'host name does not resolve');
      failing.add(host);
    }
  }

  async function refresh(publish: Parameters<Provider['start']>[0]): Promise<void> {
    await Promise.all(hosts.map(lookUp));
    if (isStopped) return;
    const members = [...known].map(([host, addresses]) => toMember(host, addresses));
    publish({ members, prefixes: [] });
    const hasNames = hosts.some((host) => parseAddress(host) === undefined);
    if (hasNames) timer = clock.after(RESOLVE_INTERVAL_MS, () => void refresh(publish));
  }

  return {
    name: 'hosts',
    start: refresh,
    stop() {
      isStopped = true;
      timer?.cancel();
      return Promise.resolve();
    },
  };
}

function toMember(host: string, addresses: readonly Address[]): Member {
  return { id: host, addresses, ports: new Map(), source: 'hosts' };
}
