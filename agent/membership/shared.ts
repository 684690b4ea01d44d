/**
 * The views of clusters that other agents have read and the collector handed out; and this agent's own, offered to the
 * others. While its readers renew a view its cluster's head need not be asked. A view is the word of other agents: the collector
 * hands it out where an admin named its reader or two agents agree, its ports are claims, and who is new in it is reported.
 */
import { formatAddress, parseAddress } from '../../common/address.ts';
import type { Clock } from '../../common/clock.ts';
import type { CollectorMessage } from '../../common/protocol.ts';
import {
  clusterKeySchema,
  MAX_SHARED_MEMBERS,
  sourceOfKey,
  type FollowMembers,
  type MembersReport,
  type SharedMember,
} from '../../common/shared-view.ts';
import { addressKey } from './address-history.ts';
import { PortMemory } from './port-memory.ts';
import type { Member } from './provider.ts';

/** Reporters renew their view every five seconds. */
const FRESH_MS = 15_000;
/** When a reporter is lost, the others try within this time, each at its own moment: the first one is the next reporter. */
const TAKE_OVER_MS = 10_000;
/** Room for the rest of a message of 1 MiB. */
const MAX_VIEW_BYTES = 1_000_000;
/** Those that were asked for last: Ray gives a new id at each start. The collector keeps as many for an agent. */
const MAX_CLUSTERS = 8;

/** What another agent has read. */
export interface ForeignView {
  readonly members: readonly Member[];
  /** By this machine's clock, in ms since the epoch. */
  readonly asOfMs: number;
  readonly reporter: string;
}

export type SharingMessage = MembersReport | FollowMembers;

/** What passes the uplink, as the uplink sees it. */
export interface MembersLink {
  /** The collector is there. */
  readonly connected: (send: (message: SharingMessage) => void) => void;
  readonly disconnected: () => void;
  readonly take: (message: Extract<CollectorMessage, { type: 'members' | 'members-wanted' }>) => void;
}

export class SharedMembers implements MembersLink {
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #random: () => number;
  readonly #localAddresses: () => readonly string[];
  /** By cluster that is followed. */
  readonly #followed = new Map<string, PortMemory>();
  readonly #views = new Map<string, ForeignView & { readonly heardAtMs: number }>();
  /** By cluster whose reporter is lost: from when on this agent may try. */
  readonly #tryFromMs = new Map<string, number>();
  /** By cluster: what the collector was told of it over this connection, and the members that it was made of. */
  readonly #told = new Map<string, { readonly text: string; readonly members: readonly Member[] }>();
  #send: ((message: SharingMessage) => void) | undefined;

  /**
   * @param random numbers from 0 up to 1, 1 excluded
   * @param localAddresses every address of this machine: what is offered there no other agent tells
   */
  constructor(
    clock: Pick<Clock, 'monotonic'>,
    random: () => number,
    localAddresses: () => readonly string[] = () => [],
  ) {
    this.#clock = clock;
    this.#random = random;
    this.#localAddresses = localAddresses;
  }

  /** The view of another agent, to rest on; undefined where this one is to ask the source itself. */
  restOn(cluster: string): ForeignView | undefined {
    this.#follow(cluster);
    const view = this.#views.get(cluster);
    if (view === undefined) return undefined;
    const nowMs = this.#clock.monotonic();
    if (nowMs - view.heardAtMs >= FRESH_MS) this.#lose(cluster);
    return nowMs < (this.#tryFromMs.get(cluster) ?? Infinity) ? view : undefined;
  }

  /**
   * Offers what the source has said to the others. Returns whether it went out.
   * @param ageMs how long ago it said so
   */
  offer(cluster: string, members: readonly Member[], ageMs = 0): boolean {
    this.#followed.get(cluster)?.learn(members);
    if (this.#send === undefined || members.length > MAX_SHARED_MEMBERS || !isKey(cluster)) return false;
    const told = this.#told.get(cluster);
    if (told?.members === members) {
      this.#send({ type: 'members', cluster, ageMs });
      return true;
    }
    const shared = members.filter(({ addresses }) => addresses.length > 0).map(toShared);
    const text = JSON.stringify(shared);
    if (Buffer.byteLength(text) > MAX_VIEW_BYTES) return false;
    const isSame = told?.text === text;
    this.#told.set(cluster, { text, members });
    this.#send({ type: 'members', cluster, ageMs, ...(isSame ? {} : { members: shared }) });
    return true;
  }

  connected(send: (message: SharingMessage) => void): void {
    this.#send = send;
    this.#told.clear();
    for (const cluster of this.#followed.keys()) send({ type: 'follow-members', cluster });
  }

  disconnected(): void {
    this.#send = undefined;
  }

  take(message: Parameters<MembersLink['take']>[0]): void {
    const { cluster } = message;
    const memory = this.#followed.get(cluster);
    if (memory === undefined) return;
    // Whoever reads the source now starts with a whole view: another one may have been taken meanwhile.
    this.#told.delete(cluster);
    if (message.type === 'members-wanted') {
      this.#lose(cluster);
      return;
    }
    const { reporter, ageMs } = message;
    const read = message.members?.map((member) => toMember(member, cluster, reporter));
    const members =
      read === undefined ? this.#views.get(cluster)?.members : memory.claim(read, this.#ownKeys());
    if (members === undefined) return;
    this.#tryFromMs.delete(cluster);
    const heardAtMs = this.#clock.monotonic();
    this.#views.set(cluster, { members, asOfMs: heardAtMs - ageMs, reporter, heardAtMs });
  }

  #ownKeys(): ReadonlySet<string> {
    return new Set(
      this.#localAddresses()
        .flatMap((text) => parseAddress(text) ?? [])
        .map(addressKey),
    );
  }

  #lose(cluster: string): void {
    if (!this.#tryFromMs.has(cluster))
      this.#tryFromMs.set(cluster, this.#clock.monotonic() + this.#random() * TAKE_OVER_MS);
  }

  #follow(cluster: string): void {
    const memory = this.#followed.get(cluster);
    if (memory !== undefined) {
      this.#followed.delete(cluster);
      this.#followed.set(cluster, memory);
      return;
    }
    if (!isKey(cluster)) return;
    const [oldest] = this.#followed.keys();
    if (oldest !== undefined && this.#followed.size >= MAX_CLUSTERS) this.#forget(oldest);
    this.#followed.set(cluster, new PortMemory());
    this.#send?.({ type: 'follow-members', cluster });
  }

  #forget(cluster: string): void {
    this.#followed.delete(cluster);
    this.#views.delete(cluster);
    this.#tryFromMs.delete(cluster);
    this.#told.delete(cluster);
  }
}

function isKey(cluster: string): boolean {
  return clusterKeySchema.safeParse(cluster).success;
}

function toShared({
  id,
  addresses,
  role,
  group,
  ports,
  claimedPorts = ports,
  isShared,
}: Member): SharedMember {
  return {
    id,
    addresses: addresses.map(formatAddress),
    ...(role === 'head' || role === 'worker' ? { role } : {}),
    ...(group === undefined ? {} : { group }),
    ...(isShared === undefined ? {} : { isShared }),
    // What was claimed of this node itself is what the source says of it.
    ports: [...(ports.size === 0 ? claimedPorts : ports)].map(([service, numbers]) => [
      service,
      [...numbers],
    ]),
  };
}

function toMember(
  { id, addresses, role, group, ports, isShared }: SharedMember,
  cluster: string,
  reporter: string,
): Member {
  const source = sourceOfKey(cluster);
  return {
    id,
    ...(source === 'ray' ? { hasFleetingId: true } : {}),
    addresses: addresses.flatMap((text) => parseAddress(text) ?? []),
    ...(role === undefined ? {} : { role }),
    ...(group === undefined ? {} : { group }),
    ...(isShared === undefined ? {} : { isShared }),
    ports: new Map(ports),
    source: `${source}, read by ${reporter}`,
    readBy: reporter,
  };
}
