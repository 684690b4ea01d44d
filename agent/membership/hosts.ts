/**
 * The provider of named hosts: addresses as they are, names through the system's resolver, asked again at intervals. A
 * name that does not resolve at the moment keeps its last addresses.
 */
import { parseAddress, type Address } from '../../common/address.ts';
import type { Clock } from '../../common/clock.ts';
import type { Logger } from '../../common/log.ts';
import { LookLoop } from './look-loop.ts';
import type { GroupView, LookResult, Member, Provider } from './provider.ts';
import { ResolvedNames, type ResolveHost } from './resolved-names.ts';

const RESOLVE_INTERVAL_MS = 30_000;
/** As long as no name has ever resolved: the resolver is away, as it may be while a machine starts. */
const FIRST_INTERVAL_MS = 5000;

interface HostsDependencies {
  readonly clock: Clock;
  readonly logger: Logger;
  /** All addresses of a name, as text. */
  readonly resolve: ResolveHost;
}

/** A provider of hosts, each an address or a name. */
export function createHostsProvider(
  hosts: readonly string[],
  { clock, logger, resolve }: HostsDependencies,
): Provider {
  const literals = new Map<string, Member>();
  const names: string[] = [];
  for (const host of hosts) {
    const literal = parseAddress(host);
    if (literal === undefined) names.push(host);
    else literals.set(host, toMember(host, [literal]));
  }
  const resolved = new ResolvedNames({
    clock,
    logger,
    resolve,
    maxNames: names.length,
    text: 'host name does not resolve',
  });
  let publish: ((view: GroupView) => void) | undefined;
  let answeredAtMs = clock.monotonic();

  const loop = new LookLoop({
    clock,
    intervalMs: () => (hasResolved() ? RESOLVE_INTERVAL_MS : FIRST_INTERVAL_MS),
    async look(): Promise<LookResult> {
      const startedAtMs = clock.monotonic();
      await resolved.follow(names, true);
      const { failing } = resolved;
      if (failing.length === 0) answeredAtMs = startedAtMs;
      publish?.({
        members: membersNow(),
        prefixes: [],
        ...(names.length === 0 ? {} : { asOfMs: answeredAtMs }),
        ...(failing.length === 0 ? {} : { unresolvedNames: failing }),
        // One wrong name is said to be wrong; where each is, nobody knows the hosts yet.
        ...(hasResolved() ? {} : { isPartial: true }),
      });
      // A name that never resolved may be a slip of the pen: nobody waits for it.
      return failing.some((name) => resolved.of(name).addresses.length > 0) ? 'failed' : 'answered';
    },
  });

  function hasResolved(): boolean {
    return names.some((name) => resolved.of(name).addresses.length > 0);
  }

  /** Addresses first, then the names that have some. */
  function membersNow(): Member[] {
    const named = names.map((name) => toMember(name, resolved.of(name).addresses));
    return [...literals.values(), ...named.filter(({ addresses }) => addresses.length > 0)];
  }

  const provider: Provider = {
    name: 'hosts',
    given: 'in the rules',
    start(take) {
      publish = take;
      if (names.length > 0) return loop.start();
      publish?.({ members: membersNow(), prefixes: [] });
      return Promise.resolve();
    },
    stop: () => loop.stop(),
  };
  return names.length === 0 ? provider : { ...provider, refresh: () => loop.lookNow() };
}

function toMember(host: string, addresses: readonly Address[]): Member {
  return { id: host, addresses, ports: new Map(), source: 'hosts' };
}
