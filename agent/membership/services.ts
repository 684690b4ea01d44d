/**
 * Where the watched services are: which address and port is the object manager of which member.
 *
 * A port that the rules name holds for every node. `auto` follows the members' own ports, for every node may have
 * another one; a member whose ports nobody knows is taken to use those of the others, and where no port is known at
 * all Ray's default is watched.
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

/** Endpoints learnt from this node's own sockets; more are not kept. */
const MAX_OBSERVED_ENDPOINTS = 1000;
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
}

/** Where one service is. */
interface Place {
  /** Whether the members' own ports are followed. */
  readonly isAuto: boolean;
  /** By address of the members whose ports are known. */
  readonly own: ReadonlyMap<string, readonly PortRange[]>;
  /** At everybody else: the ports of the rules, or all that are known of any member, or Ray's default. */
  readonly common: PortSet;
}

export class ServiceLocator {
  readonly #services: ReadonlyMap<string, ServicePorts>;
  readonly #membership: Membership;
  /** Endpoints outside the cluster to which this node's raylet opened a connection. */
  readonly #observed = new Map<string, Endpoint>();
  #places: ReadonlyMap<string, Place> = new Map();
  #ports = new PortSet();

  constructor({ services, membership }: ServiceLocatorOptions) {
    this.#services = services;
    this.#membership = membership;
    this.refresh();
  }

  /** Reads the members' ports again; to be called when the membership changed. */
  refresh(): void {
    const members = this.#membership.members();
    this.#places = new Map([...this.#services].map(([name, ports]) => [name, locate(name, ports, members)]));
    // Raylets connect to workers of each other, and to those of a node that joins before anybody lists it.
    for (const [key, { address }] of this.#observed) {
      if (this.#membership.isMemberNow(address)) this.#observed.delete(key);
    }
    this.#collectPorts();
  }

  /** The service under which a connection to this endpoint is judged, or undefined where none is watched there. */
  serviceAt(address: Address, port: number): string | undefined {
    const key = addressKey(address);
    for (const [service, place] of this.#places) if (isAt(place, key, port)) return service;
    return this.#observed.has(endpointKey(key, port)) ? OBJECT_MANAGER : undefined;
  }

  /** The services that a member of the cluster offers at this endpoint; empty for everybody else. */
  servicesOfMember(address: Address, port: number, timeMs: number): string[] {
    if (!this.#membership.inGroup(CLUSTER_GROUP, address, timeMs)) return [];
    const key = addressKey(address);
    // A node that has just left is still one for a while, and had its own ports.
    const isOfMember = (service: string): boolean =>
      this.#membership.membersAt(address, timeMs).some((member) => isIn(rangesOf(member, service), port));
    const services: string[] = [];
    for (const [service, place] of this.#places) {
      if (isAt(place, key, port) || (place.isAuto && isOfMember(service))) services.push(service);
    }
    return services;
  }

  /**
   * Notes that this node's raylet opened a connection to an endpoint outside the cluster, so that it is watched
   * whatever its port, until it is in the cluster. Returns whether that was news. The address is kept.
   */
  observe(address: Address, port: number): boolean {
    if (this.serviceAt(address, port) !== undefined || this.#observed.size >= MAX_OBSERVED_ENDPOINTS)
      return false;
    this.#observed.set(endpointKey(addressKey(address), port), { address, port });
    this.#collectPorts();
    return true;
  }

  /** Every port that has to be captured; not to be changed by the caller. */
  ports(): PortSet {
    return this.#ports;
  }

  #collectPorts(): void {
    this.#ports = new PortSet([...this.#observed.values()].map(({ port }) => port));
    for (const { common } of this.#places.values()) addAll(this.#ports, common.ranges());
  }
}

function locate(service: string, ports: ServicePorts, members: readonly Member[]): Place {
  if (ports !== 'auto') return { isAuto: false, own: new Map(), common: portSet(ports) };
  const own = new Map<string, readonly PortRange[]>();
  for (const member of members) {
    const ranges = rangesOf(member, service);
    if (ranges.length === 0) continue;
    for (const address of member.addresses) {
      const key = addressKey(address);
      own.set(key, [...(own.get(key) ?? []), ...ranges]);
    }
  }
  const known = [...own.values()].flat();
  return {
    isAuto: true,
    own,
    common: portSet(known.length > 0 ? known : (KNOWN_SERVICES.get(service) ?? [])),
  };
}

function rangesOf({ ports, workerPorts }: Member, service: string): PortRange[] {
  const single = (ports.get(service) ?? []).map((port) => ({ first: port, last: port }));
  return service === WORKER && workerPorts !== undefined ? [...single, workerPorts] : single;
}

function isAt({ own, common }: Place, key: string, port: number): boolean {
  const ranges = own.get(key);
  return ranges === undefined ? common.has(port) : isIn(ranges, port);
}

function isIn(ranges: readonly PortRange[], port: number): boolean {
  return ranges.some(({ first, last }) => port >= first && port <= last);
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
