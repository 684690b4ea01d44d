/**
 * Where the watched services are: which address and port is the object manager of which member.
 *
 * A port that the rules name holds for every node. `auto` follows the members' own ports, for every node may have
 * another one; a member whose ports nobody knows is taken to use those of the others, and where no port is known at
 * all Ray's default is watched. A port that is only claimed is watched as well, where no other service is.
 */
import { PortSet } from '../capture/source.ts';
import type { Address } from '../../common/address.ts';
import {
  CLUSTER_GROUP,
  KNOWN_SERVICES,
  OBJECT_MANAGER,
  type PortRange,
  type ServicePorts,
} from '../../rules/schema.ts';
import { addressKey } from './address-history.ts';
import type { Membership } from './membership.ts';
import type { Member } from './provider.ts';

/**
 * Endpoints learnt from this node's own sockets. Beyond that the one whose connection is gone longest gives way; and where all
 * are open, the port of a further one is watched at every address.
 */
const MAX_OBSERVED_ENDPOINTS = 1000;
/** Time unseen after which a connection is gone: sockets are listed each second. */
const GONE_AFTER_MS = 10_000;
/** The service whose ports are a range, one for each process. */
const WORKER = 'worker';

interface ServiceLocatorOptions {
  /** The watched services, as the rules give them. */
  readonly services: ReadonlyMap<string, ServicePorts>;
  readonly membership: Membership;
}

interface Endpoint {
  readonly address: Address;
  readonly port: number;
  /** What is there, as far as that can be told. */
  service: string;
  seenAtMs: number;
}

/** What is at one address. */
interface Offer {
  readonly ports: Set<number>;
  readonly ranges: PortRange[];
}

/** Where one service is. */
interface Place {
  /** Whether the members' own ports are followed. */
  readonly isAuto: boolean;
  /** By address of the members whose ports are known. */
  readonly own: ReadonlyMap<string, Offer>;
  /** By address: ports of which nobody knows more than that somebody names them. */
  readonly claimed: ReadonlyMap<string, ReadonlySet<number>>;
  /** Those of them that only this node's own programs name. */
  readonly hinted: ReadonlyMap<string, ReadonlySet<number>>;
  /** Those of them that other agents name, for addresses of which nobody knows more: a node that joins, or an unknown peer. */
  readonly claimedOfMembers: PortSet;
  /** At everybody else: the ports of the rules, or all that are known of any member, or Ray's default. */
  readonly common: PortSet;
}

export class ServiceLocator {
  readonly #services: ReadonlyMap<string, ServicePorts>;
  readonly #membership: Membership;
  /** Endpoints outside the cluster to which this node's raylet opened a connection, the one seen longest ago first. */
  readonly #observed = new Map<string, Endpoint>();
  /** Ports of such endpoints for which there was no room. */
  readonly #observedPorts = new PortSet();
  #places: ReadonlyMap<string, Place> = new Map();
  /** Whether any of them knows ports of single addresses. */
  #isByAddress = false;
  /** The nodes that sources list, by address. */
  #listed: ReadonlyMap<string, readonly Member[]> = new Map();
  /** Ports of which each worker and driver has one: of this node's raylet, and Ray's default for others. */
  #workerRanges: readonly PortRange[] = [];
  #ports = new PortSet();

  constructor({ services, membership }: ServiceLocatorOptions) {
    this.#services = services;
    this.#membership = membership;
    this.refresh();
  }

  /** Reads the members' ports again; to be called when the membership changed. */
  refresh(): void {
    const members = this.#membership.members();
    this.#listed = byAddress(members);
    this.#workerRanges = [...members.flatMap(rangesOfLocalWorkers), ...(KNOWN_SERVICES.get(WORKER) ?? [])];
    this.#places = new Map([...this.#services].map(([name, ports]) => [name, locate(name, ports, members)]));
    this.#isByAddress = [...this.#places.values()].some(({ own, claimed }) => own.size + claimed.size > 0);
    // Raylets connect to workers of each other, and to those of a node that joins before anybody lists it.
    for (const [key, { address }] of this.#observed) {
      if (this.#membership.isMemberNow(address)) this.#observed.delete(key);
    }
    for (const endpoint of this.#observed.values()) endpoint.service = this.#nameObserved(endpoint);
    this.#collectPorts();
  }

  /** The service under which a connection to this endpoint is judged, or undefined where none is watched there. */
  serviceAt(address: Address, port: number): string | undefined {
    // Of most connections of a node the port says that nobody watches them.
    if (!this.#ports.has(port)) return undefined;
    const key = this.#keyOf(address);
    for (const [service, place] of this.#places) if (isAt(place, key, port)) return service;
    for (const [service, place] of this.#places) if (isClaimedAt(place, key, port)) return service;
    if (this.#observed.size === 0 && !this.#observedPorts.has(port)) return undefined;
    const observed = this.#observed.get(endpointKey(addressKey(address), port));
    const isObserved = observed !== undefined || this.#observedPorts.has(port);
    if (!isObserved || this.#membership.isMemberNow(address)) return undefined;
    return observed?.service ?? this.#nameObserved({ address, port });
  }

  /**
   * Whether it is not certain that what is watched at this endpoint is an object manager: nobody says so but that this node's
   * raylet connects there, or that it listens there itself.
   */
  isUncertainAt(address: Address, port: number): boolean {
    const key = addressKey(address);
    const places = [...this.#places.values()];
    if (places.some((place) => isAt(place, key, port))) return false;
    if (places.some(({ hinted }) => hinted.get(key)?.has(port) === true)) return true;
    return !places.some((place) => isClaimedAt(place, key, port));
  }

  /** The services that a member of the cluster offers at this endpoint; empty for everybody else. */
  servicesOfMember(address: Address, port: number, timeMs: number): string[] {
    if (!this.#membership.inGroup(CLUSTER_GROUP, address, timeMs)) return [];
    const key = this.#keyOf(address);
    const services: string[] = [];
    for (const [service, place] of this.#places) {
      // A node that has just left is still one for a while, and had its own ports.
      if (isAt(place, key, port) || (place.isAuto && this.#isOfMember(service, address, port, timeMs)))
        services.push(service);
    }
    // A claim makes nothing of what is known to be another service.
    if (services.length > 0) return services;
    for (const [service, place] of this.#places) if (isClaimedAt(place, key, port)) services.push(service);
    return services;
  }

  #isOfMember(service: string, address: Address, port: number, timeMs: number): boolean {
    return this.#membership
      .membersAt(address, timeMs)
      .some((member) => isIn(rangesOf(member, service), port));
  }

  /** What places have addresses by; of no use where none has any. */
  #keyOf(address: Address): string {
    return this.#isByAddress ? addressKey(address) : '';
  }

  /**
   * Notes that this node's raylet has a connection to an endpoint outside the cluster, so that it is watched whatever its port,
   * until it is in the cluster. Returns whether that was news. The address is kept.
   */
  observe(address: Address, port: number, nowMs: number): boolean {
    const key = endpointKey(addressKey(address), port);
    const known = this.#observed.get(key);
    if (known !== undefined) {
      known.seenAtMs = nowMs;
      this.#observed.delete(key);
      this.#observed.set(key, known);
      return false;
    }
    if (this.serviceAt(address, port) !== undefined) return false;
    const service = this.#nameObserved({ address, port });
    if (this.#hasRoom(nowMs)) this.#observed.set(key, { address, port, service, seenAtMs: nowMs });
    else this.#observedPorts.add(port);
    this.#collectPorts();
    return true;
  }

  /** The ports of a service that are watched where nobody tells better. */
  commonPorts(service: string): readonly PortRange[] {
    return this.#places.get(service)?.common.ranges() ?? [];
  }

  /** Every port that has to be captured; not to be changed by the caller. */
  ports(): PortSet {
    return this.#ports;
  }

  /**
   * What a raylet connects to outside the cluster: an object manager, or workers and drivers. It is watched and judged all the same:
   * this is a name, and who has a rogue object manager there gains no more than that.
   */
  #nameObserved({ address, port }: Pick<Endpoint, 'address' | 'port'>): string {
    // Listed, and not approved of.
    const listed = this.#listed.get(addressKey(address)) ?? [];
    for (const { ports, claimedPorts } of listed) {
      for (const [service, numbers] of [...ports, ...(claimedPorts ?? [])]) {
        if (numbers.includes(port)) return service;
      }
    }
    const isOfWorkers = isIn(this.#workerRanges, port);
    // A node has one object manager: where that is known, anything else is a worker.
    const isElsewhere = listed.some((member) => hasPorts(member, OBJECT_MANAGER));
    return isOfWorkers || isElsewhere ? WORKER : OBJECT_MANAGER;
  }

  /** Whether a further endpoint can be kept; forgets one whose connection is gone where that takes it. */
  #hasRoom(nowMs: number): boolean {
    if (this.#observed.size < MAX_OBSERVED_ENDPOINTS) return true;
    const [oldest] = this.#observed;
    if (oldest === undefined || nowMs - oldest[1].seenAtMs < GONE_AFTER_MS) return false;
    return this.#observed.delete(oldest[0]);
  }

  #collectPorts(): void {
    this.#ports = new PortSet([...this.#observed.values()].map(({ port }) => port));
    addAll(this.#ports, this.#observedPorts.ranges());
    for (const { common, claimed } of this.#places.values()) {
      addAll(this.#ports, common.ranges());
      for (const ports of claimed.values()) for (const port of ports) this.#ports.add(port);
    }
  }
}

function locate(service: string, ports: ServicePorts, members: readonly Member[]): Place {
  if (ports !== 'auto')
    return {
      isAuto: false,
      own: new Map(),
      claimed: new Map(),
      hinted: new Map(),
      claimedOfMembers: new PortSet(),
      common: portSet(ports),
    };
  const own = new Map<string, Offer>();
  const claimed = new Map<string, Set<number>>();
  const hinted = new Map<string, Set<number>>();
  const claimedOfMembers = new PortSet();
  const known = new PortSet();
  for (const member of members) {
    const ranges = rangesOf(member, service);
    const claims = member.claimedPorts?.get(service) ?? [];
    addAll(known, ranges);
    // What a program of this node claims is watched here only: elsewhere it would accuse others.
    if (member.isLocal !== true) for (const port of claims) claimedOfMembers.add(port);
    for (const address of member.addresses) {
      const key = addressKey(address);
      if (ranges.length > 0) addOffer(own, key, ranges);
      if (claims.length > 0) addTo(claimed, key, claims);
      if (claims.length > 0 && member.isLocal === true) addTo(hinted, key, claims);
    }
  }
  for (const member of members) {
    if (member.isLocal === true) continue;
    for (const address of member.addresses)
      for (const port of member.claimedPorts?.get(service) ?? [])
        hinted.get(addressKey(address))?.delete(port);
  }
  const common = known.ranges().length > 0 ? known : portSet(KNOWN_SERVICES.get(service) ?? []);
  return { isAuto: true, own, claimed, hinted, claimedOfMembers, common };
}

/** In place: thousands of nodes may be listed at one address. */
function addOffer(own: Map<string, Offer>, key: string, ranges: readonly PortRange[]): void {
  const offer = own.get(key) ?? { ports: new Set(), ranges: [] };
  own.set(key, offer);
  for (const { first, last } of ranges) {
    if (first === last) offer.ports.add(first);
    else if (!offer.ranges.some((range) => range.first === first && range.last === last))
      offer.ranges.push({ first, last });
  }
}

function addTo(claimed: Map<string, Set<number>>, key: string, ports: readonly number[]): void {
  const set = claimed.get(key) ?? new Set();
  claimed.set(key, set);
  for (const port of ports) set.add(port);
}

function rangesOf({ ports, workerPorts }: Member, service: string): PortRange[] {
  const single = (ports.get(service) ?? []).map((port) => ({ first: port, last: port }));
  return service === WORKER && workerPorts !== undefined ? [...single, workerPorts] : single;
}

function isAt({ own, common }: Place, key: string, port: number): boolean {
  const offer = own.get(key);
  return offer === undefined ? common.has(port) : offer.ports.has(port) || isIn(offer.ranges, port);
}

function isClaimedAt({ own, claimed, claimedOfMembers }: Place, key: string, port: number): boolean {
  return claimed.get(key)?.has(port) === true || (!own.has(key) && claimedOfMembers.has(port));
}

function isIn(ranges: readonly PortRange[], port: number): boolean {
  return ranges.some(({ first, last }) => port >= first && port <= last);
}

function byAddress(members: readonly Member[]): ReadonlyMap<string, readonly Member[]> {
  const found = new Map<string, Member[]>();
  for (const member of members) {
    for (const address of member.addresses) {
      const key = addressKey(address);
      const others = found.get(key);
      if (others === undefined) found.set(key, [member]);
      else others.push(member);
    }
  }
  return found;
}

function rangesOfLocalWorkers({ isLocal, workerPorts }: Member): PortRange[] {
  return isLocal === true && workerPorts !== undefined ? [workerPorts] : [];
}

function hasPorts({ ports, claimedPorts }: Member, service: string): boolean {
  return (ports.get(service)?.length ?? 0) > 0 || (claimedPorts?.get(service)?.length ?? 0) > 0;
}

function portSet(ranges: readonly PortRange[]): PortSet {
  const ports = new PortSet();
  addAll(ports, ranges);
  return ports;
}

function addAll(ports: PortSet, ranges: readonly PortRange[]): void {
  for (const { first, last } of ranges) for (let port = first; port <= last; port++) ports.add(port);
}

function endpointKey(key: string, port: number): string {
  return `${key}.${port}`;
}
