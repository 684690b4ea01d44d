/**
 * Which ports other agents say that members listen at, joined with what this agent has read by itself and what they said
 * before: their word adds ports to the watch and never takes one from it, and says nothing of this node's own.
 */
import { addressKey } from './address-history.ts';
import type { Member } from './provider.ts';

/** Ports of one service at one address that are remembered; the newest stay. A raylet picks another at each start. */
const MAX_PORTS = 16;
/** Services of one address. */
const MAX_SERVICES = 32;

type Ports = ReadonlyMap<string, readonly number[]>;

const NO_PORTS: Ports = new Map();

export class PortMemory {
  /** By address: what this agent has read at the source, and the list that it comes from. */
  #read: ReadonlyMap<string, Ports> = new Map();
  #readFrom: readonly Member[] | undefined;
  /** By address: what others have said. */
  #said: ReadonlyMap<string, Ports> = new Map();

  /** Takes what this agent has read by itself. */
  learn(members: readonly Member[]): void {
    if (members === this.#readFrom) return;
    this.#readFrom = members;
    this.#read = byAddress(members, ({ ports }) => ports);
  }

  /**
   * The members of another agent's view, with their ports as claims.
   * @param own the keys of this machine's addresses
   */
  claim(members: readonly Member[], own: ReadonlySet<string>): Member[] {
    const said = byAddress(members, ({ ports }) => ports);
    for (const [key, before] of this.#said) {
      const now = said.get(key);
      if (now !== undefined) said.set(key, join(before, now));
    }
    this.#said = said;
    return members.map((member) => {
      const keys = member.addresses.map(addressKey);
      if (keys.some((key) => own.has(key))) return { ...member, ports: NO_PORTS };
      const known = keys.flatMap((key) => [said.get(key) ?? NO_PORTS, this.#read.get(key) ?? NO_PORTS]);
      return { ...member, ports: NO_PORTS, claimedPorts: known.reduce(join, NO_PORTS) };
    });
  }
}

function byAddress(members: readonly Member[], portsOf: (member: Member) => Ports): Map<string, Ports> {
  const ports = new Map<string, Ports>();
  for (const member of members) {
    for (const address of member.addresses) {
      const key = addressKey(address);
      ports.set(key, join(ports.get(key) ?? NO_PORTS, portsOf(member)));
    }
  }
  return ports;
}

/** The ports of both, of each service the newest that there is room for. */
function join(older: Ports, newer: Ports): Ports {
  if (older.size === 0) return newer;
  const joined = new Map(older);
  for (const [service, ports] of newer) {
    const before = joined.get(service);
    if (before === undefined && joined.size >= MAX_SERVICES) continue;
    const all = [...(before ?? []).filter((port) => !ports.includes(port)), ...ports];
    joined.set(service, all.slice(-MAX_PORTS));
  }
  return joined;
}
