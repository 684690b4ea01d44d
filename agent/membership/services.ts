/**
 * Where the watched services are: which address and port is the object manager of which member.
 *
 * A port that the rules name holds for every node. `auto` follows the members' own ports, for every node may have
 * another one; a member whose ports nobody knows is taken to use those of the others, and where no port is known at
 * all the convention 43800 is watched.
 */
import { PortSet } from '../capture/source.ts';
import type { Address } from '../../common/address.ts';
import { CLUSTER_GROUP, OBJECT_MANAGER, type ServicePorts } from '../../rules/schema.ts';
import { addressKey } from './address-history.ts';
import type { Membership } from './membership.ts';

/** The port of the project's first analysis: watched where discovery finds none. */
export const FALLBACK_OBJECT_MANAGER_PORT = 43_800;
/** Endpoints learnt from this node's own sockets; more are not kept. */
const MAX_OBSERVED_ENDPOINTS = 1000;

interface ServiceLocatorOptions {
  /** The watched services, as the rules give them. */
  readonly services: ReadonlyMap<string, ServicePorts>;
  readonly membership: Membership;
}

export class ServiceLocator {
  readonly #services: ReadonlyMap<string, ServicePorts>;
  readonly #membership: Membership;
  /** Endpoints outside the cluster to which this node's raylet opened a connection. */
  readonly #observed = new Map<string, { port: number; service: string }>();
  /** Service to address to ports, for services that are `auto`. */
  #memberPorts = new Map<string, Map<string, ReadonlySet<number>>>();
  /** Service to every port known for it, for services that are `auto`. */
  #commonPorts = new Map<string, ReadonlySet<number>>();

  constructor({ services, membership }: ServiceLocatorOptions) {
    this.#services = services;
    this.#membership = membership;
    this.refresh();
  }

  /** Reads the members' ports again; to be called when the membership changed. */
  refresh(): void {
    const members = this.#membership.members();
    this.#memberPorts = new Map();
    this.#commonPorts = new Map();
    for (const [service, ports] of this.#services) {
      if (ports !== 'auto') continue;
      const byAddress = new Map<string, ReadonlySet<number>>();
      for (const member of members) {
        const own = member.ports.get(service);
        if (own === undefined || own.length === 0) continue;
        for (const address of member.addresses) {
          const key = addressKey(address);
          byAddress.set(key, new Set([...(byAddress.get(key) ?? []), ...own]));
        }
      }
      const all = new Set(members.flatMap((member) => member.ports.get(service) ?? []));
      if (all.size === 0 && service === OBJECT_MANAGER) all.add(FALLBACK_OBJECT_MANAGER_PORT);
      this.#memberPorts.set(service, byAddress);
      this.#commonPorts.set(service, all);
    }
  }

  /** The service under which a connection to this endpoint is judged, or undefined where none is watched there. */
  serviceAt(address: Address, port: number): string | undefined {
    for (const service of this.#services.keys()) if (this.#isAt(service, address, port)) return service;
    return this.#observed.get(endpointKey(address, port))?.service;
  }

  /** The services that a member of the cluster offers at this endpoint; empty for everybody else. */
  servicesOfMember(address: Address, port: number, timeMs: number): string[] {
    if (!this.#membership.inGroup(CLUSTER_GROUP, address, timeMs)) return [];
    return [...this.#services.keys()].filter((service) => this.#isAt(service, address, port));
  }

  /**
   * Notes that this node's raylet opened a connection to an endpoint outside the cluster, so that it is watched
   * whatever its port. Returns whether that was news.
   */
  observe(address: Address, port: number): boolean {
    if (this.serviceAt(address, port) !== undefined || this.#observed.size >= MAX_OBSERVED_ENDPOINTS)
      return false;
    this.#observed.set(endpointKey(address, port), { port, service: OBJECT_MANAGER });
    return true;
  }

  /** Every port that has to be captured. */
  ports(): PortSet {
    const ports = new PortSet();
    for (const ranges of this.#services.values()) {
      if (ranges === 'auto') continue;
      for (const { first, last } of ranges) for (let port = first; port <= last; port++) ports.add(port);
    }
    for (const common of this.#commonPorts.values()) for (const port of common) ports.add(port);
    for (const { port } of this.#observed.values()) ports.add(port);
    return ports;
  }

  #isAt(service: string, address: Address, port: number): boolean {
    const ports = this.#services.get(service);
    if (ports === undefined) return false;
    if (ports !== 'auto') return ports.some(({ first, last }) => port >= first && port <= last);
    const own = this.#memberPorts.get(service)?.get(addressKey(address));
    return (own ?? this.#commonPorts.get(service))?.has(port) ?? false;
  }
}

function endpointKey(address: Address, port: number): string {
  return `${addressKey(address)}.${port}`;
}
