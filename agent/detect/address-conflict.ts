/**
 * One address of the cluster with two hardware addresses on one segment: another host has taken it over (ARP or neighbour
 * spoofing), and is the member for everybody who goes by addresses.
 *
 * Asked at the SYN and SYN-ACK of connections to watched ports, for members' addresses only. Normal are: many addresses
 * behind one hardware address (routers, proxy ARP, network namespaces), and an address that moves once and stays (fail-over
 * of a bond or of VRRP and CARP, a replaced machine): that is information. An address that comes back from where it was
 * taken is used by two at a time: a warning, and critical where both have been answered, since a lone SYN is forged by anybody on the
 * segment. What a router passes on has the router's hardware address, so that an address
 * counts from its first packet that came through none.
 */
import { formatAddress, type Address } from '../../common/address.ts';
import { anomalyWithoutFlow, type Anomaly, type Severity } from '../../common/event.ts';
import { formatMilliseconds, shortTime } from '../../common/time.ts';
import { formatMac, type LinkSource } from '../decode/link-source.ts';
import { addressKey } from '../membership/address-history.ts';
import type { ActivityPhase } from './activities.ts';

/** Addresses on segments that are remembered. When there is no room, those that are no members any more give way, and nobody else. */
const MAX_NEIGHBOURS = 8192;
/** Hardware addresses that are remembered of one address, the ones seen last. */
const MAX_MACS = 4;
/** An address that returns to a hardware address after longer has moved there: a failed machine is back. */
const RETURN_MS = 3_600_000;
/** Connections whose answer would make a conflict worse, at a time. */
const MAX_SUSPECTS = 256;
/** Unknown peers with a member's hardware address that are remembered for a hint. */
const MAX_HINTS = 1024;
/** A hardware address with more members is that of a router or a host of containers, and hints at none. */
const MAX_MEMBERS_OF_MAC = 3;
/** While it goes on, it is reported again this often. */
const REPORT_INTERVAL_MS = 60_000;

interface AddressConflictOptions {
  readonly node: string;
  readonly createId: () => string;
  readonly report: (anomaly: Anomaly, phase: ActivityPhase) => void;
  readonly interfaceName: (index: number) => string | undefined;
  /** Whether the address is in the cluster at the time. */
  readonly isMember: (address: Address, timeMs: number) => boolean;
}

interface Neighbour {
  readonly address: Address;
  readonly segment: number;
  /** When each hardware address was seen last, the present one at the end. */
  readonly macs: Map<number, number>;
  conflict: Conflict | undefined;
}

interface Conflict {
  readonly id: string;
  readonly firstMs: number;
  readonly interfaceIndex: number;
  severity: Severity;
  /** Hardware addresses with which a handshake was answered: what opened it was no forged segment. */
  readonly answered: Set<number>;
  /** Moves from one hardware address to another. */
  moves: number;
  lastMs: number;
  reportedMoves: number;
  reportedAtMs: number;
}

export class AddressConflictDetector {
  readonly #options: AddressConflictOptions;
  /** By segment and address. */
  readonly #neighbours = new Map<string, Neighbour>();
  /** Those of them with more than one hardware address. */
  readonly #conflicting = new Set<Neighbour>();
  /** Once from one tick to the next: who fills the table must not have it searched at each packet. */
  #mayMakeRoom = true;
  /** By hardware address: the members' addresses that it has, as text. */
  readonly #membersOf = new Map<number, Set<string>>();
  /** By ends of a connection that is not answered yet: the neighbour that its opening made suspect. */
  readonly #suspects = new Map<string, { readonly neighbour: Neighbour; readonly mac: number }>();
  /** By unknown peer: the member with the same hardware address. */
  readonly #hints = new Map<string, string>();

  constructor(options: AddressConflictOptions) {
    this.#options = options;
  }

  /** Takes the sender of a segment that opens a connection. @param port the sender's */
  observe(address: Address, port: number, interfaceIndex: number, source: LinkSource, timeMs: number): void {
    const { mac, segment, isDirect } = source;
    const key = `${segment} ${addressKey(address)}`;
    const known = this.#neighbours.get(key);
    if (known === undefined) {
      if (isDirect) this.#meet(key, address, source, timeMs);
      return;
    }
    if (lastOf(known) === mac) {
      known.macs.set(mac, timeMs);
      return;
    }
    // Its time as a member may be over, and the address another machine's.
    if (!this.#options.isMember(address, timeMs)) {
      this.#forget(key, known);
      return;
    }
    this.#move(known, source, interfaceIndex, timeMs);
    if (this.#suspects.size >= MAX_SUSPECTS) this.#suspects.delete(this.#suspects.keys().next().value ?? '');
    this.#suspects.set(endOf(address, port), { neighbour: known, mac });
  }

  /** Whether a connection's answer would tell more. Cheap. */
  get hasSuspects(): boolean {
    return this.#suspects.size > 0;
  }

  /** Takes note that the connection of this end was answered. */
  answered(address: Address, port: number, timeMs: number): void {
    const end = endOf(address, port);
    const suspect = this.#suspects.get(end);
    const conflict = suspect?.neighbour.conflict;
    this.#suspects.delete(end);
    if (suspect === undefined || conflict === undefined) return;
    conflict.answered.add(suspect.mac);
    if (conflict.severity !== 'warning' || conflict.answered.size < 2) return;
    conflict.severity = 'critical';
    this.#report(suspect.neighbour, conflict, 'raised', timeMs);
  }

  /** What an unknown peer's hardware address says of it, for people; undefined where it says nothing. */
  hintOf(address: Address): string | undefined {
    const member = this.#hints.size === 0 ? undefined : this.#hints.get(addressKey(address));
    return member === undefined ? undefined : `may be a second address of ${member}: same hardware address`;
  }

  /** Reports what goes on. */
  tick(nowMs: number): void {
    this.#mayMakeRoom = true;
    for (const neighbour of this.#conflicting) {
      const { conflict } = neighbour;
      if (conflict === undefined || conflict.moves === conflict.reportedMoves) continue;
      if (Math.abs(nowMs - conflict.reportedAtMs) >= REPORT_INTERVAL_MS)
        this.#report(neighbour, conflict, 'growing', nowMs);
    }
  }

  /** Reports the final state of every conflict. */
  end(nowMs: number): void {
    for (const neighbour of this.#conflicting)
      if (neighbour.conflict !== undefined) this.#report(neighbour, neighbour.conflict, 'over', nowMs);
    this.#neighbours.clear();
  }

  #meet(key: string, address: Address, { mac, segment }: LinkSource, timeMs: number): void {
    if (!this.#options.isMember(address, timeMs)) {
      this.#noteHint(address, mac);
      return;
    }
    if (this.#neighbours.size >= MAX_NEIGHBOURS && this.#mayMakeRoom) this.#forgetFormer(timeMs);
    if (this.#neighbours.size >= MAX_NEIGHBOURS) return;
    const { w0, w1, w2, w3 } = address;
    const macs = new Map([[mac, timeMs]]);
    this.#neighbours.set(key, { address: { w0, w1, w2, w3 }, segment, macs, conflict: undefined });
    const members = this.#membersOf.get(mac) ?? new Set();
    this.#membersOf.set(mac, members.add(formatAddress(address)));
  }

  #move(neighbour: Neighbour, { mac }: LinkSource, interfaceIndex: number, timeMs: number): void {
    const { macs } = neighbour;
    const before = macs.get(mac);
    const isReturn = before !== undefined && Math.abs(timeMs - before) < RETURN_MS;
    macs.delete(mac);
    macs.set(mac, timeMs);
    const [oldest] = macs.keys();
    if (macs.size > MAX_MACS && oldest !== undefined) macs.delete(oldest);
    const isNew = neighbour.conflict === undefined;
    const conflict = (neighbour.conflict ??= {
      id: this.#options.createId(),
      firstMs: timeMs,
      interfaceIndex,
      severity: 'info',
      answered: new Set(),
      moves: 0,
      lastMs: timeMs,
      reportedMoves: 0,
      reportedAtMs: timeMs,
    });
    this.#conflicting.add(neighbour);
    conflict.moves++;
    conflict.lastMs = timeMs;
    const isWorse = isReturn && conflict.severity === 'info';
    if (isWorse) conflict.severity = 'warning';
    if (isNew || isWorse) this.#report(neighbour, conflict, isNew ? 'opened' : 'raised', timeMs);
  }

  #report({ address, macs }: Neighbour, conflict: Conflict, phase: ActivityPhase, nowMs: number): void {
    const { node, report, interfaceName } = this.#options;
    const { id, severity, moves, firstMs, lastMs, interfaceIndex } = conflict;
    conflict.reportedMoves = moves;
    conflict.reportedAtMs = nowMs;
    const peer = formatAddress(address);
    const where = interfaceName(interfaceIndex);
    const seen = [...macs].map(
      ([mac, atMs]) => `${formatMac(mac)} (last at ${shortTime(formatMilliseconds(atMs))})`,
    );
    const meaning =
      severity === 'info'
        ? 'it has moved: a fail-over, a replaced machine, or a host that has taken it over'
        : 'two machines use it in turn: one has taken it over (ARP spoofing), or it is given twice; bonds of mode balance-tlb and balance-alb look the same';
    const message = `Address ${peer}${where === undefined ? '' : ` on ${where}`} has several hardware addresses, ${seen.join(', ')}: ${meaning}`;
    report(
      anomalyWithoutFlow({
        id,
        kind: 'address-conflict',
        severity,
        node,
        peer,
        count: moves,
        first: formatMilliseconds(firstMs),
        last: formatMilliseconds(lastMs),
        message,
      }),
      phase,
    );
  }

  #noteHint(address: Address, mac: number): void {
    const members = this.#membersOf.get(mac);
    const [member] = members ?? [];
    if (member === undefined || (members?.size ?? 0) > MAX_MEMBERS_OF_MAC) return;
    const key = addressKey(address);
    this.#hints.delete(key);
    this.#hints.set(key, member);
    const [oldest] = this.#hints.keys();
    if (this.#hints.size > MAX_HINTS && oldest !== undefined) this.#hints.delete(oldest);
  }

  #forgetFormer(timeMs: number): void {
    this.#mayMakeRoom = false;
    for (const [key, neighbour] of this.#neighbours)
      if (!this.#options.isMember(neighbour.address, timeMs)) this.#forget(key, neighbour);
  }

  #forget(key: string, neighbour: Neighbour): void {
    this.#neighbours.delete(key);
    this.#conflicting.delete(neighbour);
    const text = formatAddress(neighbour.address);
    for (const mac of neighbour.macs.keys()) {
      const members = this.#membersOf.get(mac);
      members?.delete(text);
      if (members?.size === 0) this.#membersOf.delete(mac);
    }
  }
}

function lastOf({ macs }: Neighbour): number | undefined {
  let last: number | undefined;
  for (const mac of macs.keys()) last = mac;
  return last;
}

function endOf(address: Address, port: number): string {
  return `${addressKey(address)} ${port}`;
}
