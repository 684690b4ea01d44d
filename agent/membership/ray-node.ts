/** What the raylets of this node say of it and of its head, as members. Only proven ones name anybody. */
import { formatAddress, isLoopback, parseAddress, sameAddress, type Address } from '../../common/address.ts';
import { parseHostName } from '../../common/host-name.ts';
import { OBJECT_MANAGER } from '../../rules/schema.ts';
import type { Raylet } from '../ray/raylet.ts';
import type { Member } from './provider.ts';

/** Claims of ports that are watched; of each user in turn, so that nobody's crowd out another's. */
const MAX_CLAIMED_PORTS = 64;

/** The head of the cluster, as a proven raylet of this node knows it. */
export interface Head {
  /** As the raylet was given it: an address, or a host name in lower case. */
  readonly address: string;
  /** What that address is, or the name resolves to; none while the name does not resolve. */
  readonly addresses: readonly Address[];
  readonly gcsPort: number;
  /** Undefined where the raylet was not told it. */
  readonly dashboardPort: number | undefined;
  /** Where the dashboard is, by the command line of the raylet. */
  readonly dashboardHost: string | undefined;
  /** The user of that raylet. */
  readonly userId: number;
}

/** This node: its addresses are members even before a raylet runs. No command line adds one to them. */
export function ownMember(raylets: readonly Raylet[], localAddresses: readonly string[]): Member {
  const proven = raylets.filter(({ isProven }) => isProven);
  const id = proven.find(({ nodeId }) => nodeId !== '')?.nodeId ?? 'this node';
  const workerPorts = proven.find((raylet) => raylet.workerPorts !== undefined)?.workerPorts;
  const claimedPorts = portsClaimedBy(raylets);
  return {
    id,
    addresses: toAddresses(localAddresses),
    ports: portsOf(proven),
    ...(claimedPorts.size === 0 ? {} : { claimedPorts }),
    ...(workerPorts === undefined ? {} : { workerPorts }),
    source: 'ray',
    isLocal: true,
  };
}

/**
 * The head, known from the raylet's `--gcs-address` even where its dashboard cannot be reached. It is of this node, and needs
 * no approval, where the address is one of this machine's.
 *
 * @param first the addresses that the head's name had at first. One that the name has got since is what its source says now:
 *   it is reported like that of any node that joins
 */
export function headMembers(
  head: Head | undefined,
  localAddresses: readonly string[],
  first: readonly Address[] = head?.addresses ?? [],
): Member[] {
  if (head === undefined) return [];
  return head.addresses.map((address) => {
    const isFirst = first.some((each) => sameAddress(each, address));
    return {
      id: isFirst ? head.address : `${head.address} ${formatAddress(address)}`,
      addresses: [address],
      role: 'head',
      ports: portsOfHead(head),
      source: 'ray',
      ...(isFirst ? { isLocal: true } : {}),
      ...(isOwnAddress(address, localAddresses) ? {} : { needsApproval: true }),
    };
  });
}

/** The heads that proven raylets name, that of the raylet that started first at the front; names are not resolved yet. */
export function findHeads(raylets: readonly Raylet[]): Head[] {
  return raylets.flatMap(({ isProven, gcsAddress, dashboardPort, dashboardHost, userId }) => {
    const endpoint = parseEndpoint(gcsAddress);
    if (!isProven || endpoint === undefined) return [];
    const { host, port } = endpoint;
    const address = parseAddress(host);
    const addresses = address === undefined ? [] : [address];
    return [{ address: host, addresses, gcsPort: port, dashboardPort, dashboardHost, userId }];
  });
}

/** `10.0.0.10:6379`, `[fd00::10]:6379`, `fd00::10:6379` as Ray writes it, too, or `head.example:6379`. */
function parseEndpoint(text: string): { readonly host: string; readonly port: number } | undefined {
  const [, bracketed, bare, port] = /^(?:\[(.*)\]|(.*)):(\d{1,5})$/.exec(text) ?? [];
  const named = bracketed ?? bare ?? '';
  // What every system takes for itself (RFC 6761, section 6.3) needs no resolver.
  const written = /^localhost\.?$/i.test(named) ? '127.0.0.1' : named;
  const address = parseAddress(written);
  // In one spelling: the raylets of a cluster may have been given several.
  const host = address === undefined ? parseHostName(written) : formatAddress(address);
  return host === undefined || Number(port) > 65_535 ? undefined : { host, port: Number(port) };
}

export function isSameHead(
  a: Pick<Head, 'address' | 'gcsPort'>,
  b: Pick<Head, 'address' | 'gcsPort'>,
): boolean {
  return a.address === b.address && a.gcsPort === b.gcsPort;
}

/** Whether the head is named and not addressed: then its addresses may change. */
export function isNamed({ address }: Pick<Head, 'address'>): boolean {
  return parseAddress(address) === undefined;
}

/** What only the head offers. */
export function portsOfHead({
  gcsPort,
  dashboardPort,
}: Pick<Head, 'gcsPort' | 'dashboardPort'>): Map<string, readonly number[]> {
  return new Map([
    ['gcs', [gcsPort]],
    ...(dashboardPort === undefined ? [] : [['dashboard', [dashboardPort]] as const]),
  ]);
}

/**
 * What this cluster's nodes agree on and no other cluster has; undefined where there is no such thing. Ray's id of it, or
 * the head's endpoint. A name is none: one name stands for two heads in two domains, and two names for one head.
 */
export function clusterKey(raylets: readonly Raylet[], head: Head | undefined): string | undefined {
  const isOfHead = (raylet: Raylet): boolean =>
    head !== undefined && findHeads([raylet]).some((named) => isSameHead(named, head));
  const raylet = raylets.find(isOfHead) ?? raylets.find(({ isProven }) => isProven);
  if (raylet?.clusterId !== undefined) return raylet.clusterId;
  if (raylet === undefined || head === undefined || !isOfHead(raylet)) return undefined;
  const [address, ...others] = head.addresses;
  if (address === undefined || others.length > 0 || isLoopback(address)) return undefined;
  return endpointOf(address, head.gcsPort);
}

function endpointOf(address: Address, port: number): string {
  const text = formatAddress(address);
  return text.includes(':') ? `[${text}]:${port}` : `${text}:${port}`;
}

/** Whether the address is one of this machine's: one that it lists, or any of loopback where it lists that. */
export function isOwnAddress(address: Address, localAddresses: readonly string[]): boolean {
  const own = toAddresses(localAddresses);
  return own.some((each) => sameAddress(each, address)) || (isLoopback(address) && own.some(isLoopback));
}

export function toAddresses(texts: readonly string[]): Address[] {
  return texts.map(parseAddress).filter((address): address is Address => address !== undefined);
}

function portsOf(raylets: readonly Raylet[]): ReadonlyMap<string, readonly number[]> {
  const ports = new Map<string, readonly number[]>();
  for (const { objectManagerPort, nodeManagerPort, agentPorts } of raylets) {
    const told = [
      [OBJECT_MANAGER, objectManagerPort] as const,
      ['node-manager', nodeManagerPort] as const,
      ...(agentPorts ?? []),
    ];
    for (const [service, port] of told)
      if (port !== undefined) ports.set(service, [...(ports.get(service) ?? []), port]);
  }
  return ports;
}

/**
 * The ports that may be those of a raylet: of a proven one whose port is not known, each at which it listens; of those that nobody
 * has proven, what they claim, one of each user in turn.
 */
function portsClaimedBy(raylets: readonly Raylet[]): ReadonlyMap<string, readonly number[]> {
  const proven = raylets.filter(({ isProven }) => isProven);
  const unproven = raylets.filter(({ isProven }) => !isProven);
  const objectManagers = [
    ...proven.flatMap(({ listeningPorts = [] }) => listeningPorts),
    ...inTurn(unproven, ({ objectManagerPort, listeningPorts = [] }) =>
      objectManagerPort === undefined ? listeningPorts : [objectManagerPort],
    ),
  ];
  const nodeManagers = inTurn(unproven, ({ nodeManagerPort }) =>
    nodeManagerPort === undefined ? [] : [nodeManagerPort],
  );
  const claimed = [
    [OBJECT_MANAGER, objectManagers],
    ['node-manager', nodeManagers],
  ] as const;
  return new Map(
    claimed.flatMap(([service, ports]) =>
      ports.length === 0 ? [] : [[service, [...new Set(ports)].slice(0, MAX_CLAIMED_PORTS)] as const],
    ),
  );
}

/** One port of each user, then another of each. */
function inTurn(raylets: readonly Raylet[], portsOf: (raylet: Raylet) => readonly number[]): number[] {
  const turns = new Map<number, number>();
  return raylets
    .flatMap((raylet) => portsOf(raylet).map((port) => ({ userId: raylet.userId, port })))
    .map(({ userId, port }) => {
      const turn = turns.get(userId) ?? 0;
      turns.set(userId, turn + 1);
      return { port, turn };
    })
    .toSorted((a, b) => a.turn - b.turn)
    .map(({ port }) => port);
}
