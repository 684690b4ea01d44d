/** What the raylets of this node say of it and of its head, as members. Only proven ones name anybody. */
import { isLoopback, parseAddress, sameAddress, type Address } from '../../common/address.ts';
import { OBJECT_MANAGER } from '../../rules/schema.ts';
import type { Raylet } from '../ray/raylet.ts';
import type { Member } from './provider.ts';

/** Claims of ports that are watched; of each user in turn, so that nobody's crowd out another's. */
const MAX_CLAIMED_PORTS = 64;

/** The head of the cluster, as a proven raylet of this node knows it. */
export interface Head {
  readonly address: string;
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
 */
export function headMember(head: Head | undefined, localAddresses: readonly string[]): Member[] {
  if (head === undefined) return [];
  return [
    {
      id: head.address,
      addresses: toAddresses([head.address]),
      role: 'head',
      ports: portsOfHead(head),
      source: 'ray',
      isLocal: true,
      ...(isOfThisNode(head, localAddresses) ? {} : { needsApproval: true }),
    },
  ];
}

/** The heads that proven raylets name, that of the raylet that started first at the front. */
export function findHeads(raylets: readonly Raylet[]): Head[] {
  return raylets.flatMap(({ isProven, gcsAddress, dashboardPort, dashboardHost, userId }) => {
    const [, bracketed, bare, port] = /^(?:\[(.*)\]|(.*)):(\d{1,5})$/.exec(gcsAddress) ?? [];
    const address = bracketed ?? bare ?? '';
    if (!isProven || parseAddress(address) === undefined) return [];
    return [{ address, gcsPort: Number(port), dashboardPort, dashboardHost, userId }];
  });
}

export function isSameHead(a: Head, b: Head): boolean {
  return a.address === b.address && a.gcsPort === b.gcsPort;
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

/** What this cluster's nodes agree on and no other cluster has; undefined where there is no such thing. */
export function clusterKey(raylets: readonly Raylet[], head: Head): string | undefined {
  const raylet = raylets.find((raylet) => findHeads([raylet]).some((named) => isSameHead(named, head)));
  if (raylet?.clusterId !== undefined) return raylet.clusterId;
  const address = parseAddress(head.address);
  return address === undefined || isLoopback(address) ? undefined : raylet?.gcsAddress;
}

export function isOfThisNode({ address }: Pick<Head, 'address'>, localAddresses: readonly string[]): boolean {
  const parsed = parseAddress(address);
  return parsed !== undefined && toAddresses(localAddresses).some((own) => sameAddress(own, parsed));
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
  const unclear = raylets.flatMap(({ isProven, listeningPorts = [] }) => (isProven ? listeningPorts : []));
  const turns = new Map<number, number>();
  const inTurn = raylets
    .filter(({ isProven }) => !isProven)
    .map((raylet) => {
      const turn = turns.get(raylet.userId) ?? 0;
      turns.set(raylet.userId, turn + 1);
      return { raylet, turn };
    })
    .toSorted((a, b) => a.turn - b.turn)
    .map(({ raylet }) => raylet);
  const claimed = new Map(portsOf(inTurn));
  if (unclear.length > 0) claimed.set(OBJECT_MANAGER, [...unclear, ...(claimed.get(OBJECT_MANAGER) ?? [])]);
  return new Map(
    [...claimed].map(([service, ports]) => [service, [...new Set(ports)].slice(0, MAX_CLAIMED_PORTS)]),
  );
}
