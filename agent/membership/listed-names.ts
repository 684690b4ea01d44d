/**
 * Nodes that the head's dashboard lists by name. Whoever runs `ray start` chooses the name, and whoever answers for it in DNS
 * chooses the addresses, again and again: each is a member of its own, so that one that comes later is reported as new, and
 * an approval of the node's id is none of the addresses of its name.
 */
import { formatAddress, isLoopback, parseAddress, type Address } from '../../common/address.ts';
import type { Clock } from '../../common/clock.ts';
import { parseHostName } from '../../common/host-name.ts';
import type { Logger } from '../../common/log.ts';
import type { ListedNode } from '../ray/dashboard.ts';
import { ResolvedNames, type ResolveHost } from './resolved-names.ts';

/** Names of one list that are resolved, the first ones: whoever can write the list makes others wait by as many. */
const MAX_NAMES = 1000;
/** Addresses of one name; a node has one or two. */
const MAX_ADDRESSES = 4;
/** Of the names that do not resolve. */
const MAX_LOGGED = 5;

interface ListedNamesOptions {
  readonly clock: Clock;
  readonly logger: Pick<Logger, 'warn' | 'info'>;
  readonly resolve: ResolveHost;
}

export class ListedNames {
  readonly #logger: Pick<Logger, 'warn'>;
  readonly #names: ResolvedNames;
  #failing: readonly string[] = [];
  #isSaid = false;

  constructor({ clock, logger, resolve }: ListedNamesOptions) {
    this.#logger = logger;
    // They are logged together: there may be as many as anybody likes.
    const silent = { warn: () => {}, info: () => {} };
    this.#names = new ResolvedNames({
      clock,
      logger: silent,
      resolve,
      maxNames: MAX_NAMES,
      maxAddresses: MAX_ADDRESSES,
      text: '',
    });
  }

  /** The names that do not resolve, or for which there was no room. */
  get failing(): readonly string[] {
    return this.#failing;
  }

  /** The nodes, each of those that are named once for each address of its name; without one where it has none. */
  async resolve(nodes: readonly ListedNode[], limitMs: number): Promise<readonly ListedNode[]> {
    const named = nodes.filter(({ isAlive, address }) => isAlive && parseAddress(address) === undefined);
    const names = new Set(
      named.map(({ address }) => parseHostName(address)).filter((name) => name !== undefined),
    );
    await this.#names.follow(names, false, limitMs);
    this.#failing = [...names].filter((name) => this.#names.of(name).failure !== undefined);
    this.#say();
    if (named.length === 0) return nodes;
    return nodes.flatMap((node) => {
      if (!node.isAlive || parseAddress(node.address) !== undefined) return [node];
      const name = parseHostName(node.address);
      const addresses = name === undefined ? [] : this.#names.of(name).addresses.filter(mayBeNode);
      if (addresses.length === 0) return [node];
      return addresses.map((address) => at(node, formatAddress(address)));
    });
  }

  #say(): void {
    const isFailing = this.#failing.length > 0;
    if (isFailing && !this.#isSaid)
      this.#logger.warn(
        { host: this.#failing.slice(0, MAX_LOGGED).join(' '), count: this.#failing.length },
        'names of nodes on the list of the dashboard do not resolve',
      );
    this.#isSaid = isFailing;
  }
}

/** No node of a cluster has an address of loopback, of a group (multicast), or none at all. */
function mayBeNode(address: Address): boolean {
  const text = formatAddress(address);
  return !isLoopback(address) && !/^(?:0\.|22[4-9]\.|2[345]\d\.|ff|::$)/.test(text);
}

function at({ nodeId, isAlive, isHead, ports }: ListedNode, address: string): ListedNode {
  return { nodeId: `${nodeId} ${address}`, address, isAlive, isHead, ports };
}
