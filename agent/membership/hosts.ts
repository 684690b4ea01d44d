/**
 * The provider of named hosts: addresses as they are, names through the system's resolver, asked again at intervals. A
 * name that does not resolve at the moment keeps its last addresses.
 */
import { parseAddress, type Address } from '../../common/address.ts';
import type { Clock } from '../../common/clock.ts';
import { messageOf } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import { LookLoop } from './look-loop.ts';
import { OutageLog } from './outage-log.ts';
import type { GroupView, LookResult, Member, Provider } from './provider.ts';

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
  const known = new Map<string, Member>();
  const outages = new OutageLog(logger, 'host name does not resolve', 'host name resolves again');
  const names: string[] = [];
  for (const host of hosts) {
    const literal = parseAddress(host);
    if (literal === undefined) names.push(host);
    else known.set(host, toMember(host, [literal]));
  }
  let publish: ((view: GroupView) => void) | undefined;
  let answeredAtMs = clock.monotonic();

  async function lookUp(name: string): Promise<void> {
    try {
      const addresses = (await resolve(name)).map(parseAddress).filter((found) => found !== undefined);
      if (addresses.length === 0) throw new Error('no address');
      known.set(name, toMember(name, addresses));
      outages.succeeded(name);
    } catch (error) {
      outages.failed(name, messageOf(error));
    }
  }

  const loop = new LookLoop({
    clock,
    intervalMs: () => RESOLVE_INTERVAL_MS,
    async look(): Promise<LookResult> {
      const startedAtMs = clock.monotonic();
      await Promise.all(names.map(lookUp));
      if (outages.failing.size === 0) answeredAtMs = startedAtMs;
      publish?.({
        members: [...known.values()],
        prefixes: [],
        ...(names.length === 0 ? {} : { asOfMs: answeredAtMs }),
      });
      // A name that never resolved may be a slip of the pen: nobody waits for it.
      return [...outages.failing].some((name) => known.has(name)) ? 'failed' : 'answered';
    },
  });

  const provider: Provider = {
    name: 'hosts',
    given: 'in the rules',
    start(take) {
      publish = take;
      if (names.length > 0) return loop.start();
      publish?.({ members: [...known.values()], prefixes: [] });
      return Promise.resolve();
    },
    stop: () => loop.stop(),
  };
  return names.length === 0 ? provider : { ...provider, refresh: () => loop.lookNow() };
}

function toMember(host: string, addresses: readonly Address[]): Member {
  return { id: host, addresses, ports: new Map(), source: 'hosts' };
}
