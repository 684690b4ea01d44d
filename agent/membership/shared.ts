/**
 * The views of clusters that other agents have read and the collector handed out; and this agent's own, offered to the
 * others. While its readers renew a view its cluster's head need not be asked. A view is the word of other agents: the collector
 * hands it out where an admin named its reader or two agents agree, its ports are claims, and who is new in it is reported.
 */
import type { Clock, Timer } from '../../common/clock.ts';
import { formatAddress, parseAddress, type Address } from '../../common/address.ts';
import type { CollectorMessage } from '../../common/protocol.ts';
import {
  clusterKeySchema,
  MAX_NODE_ADDRESSES,
  MAX_SHARED_MEMBERS,
  NODES_KEY,
  sourceOfKey,
  type FollowMembers,
  type MembersReport,
  type SharedMember,
} from '../../common/shared-view.ts';
import { addressKey } from './address-history.ts';
import { NodeAddresses } from './node-addresses.ts';
import { PortMemory } from './port-memory.ts';
import type { Member } from './provider.ts';

/** Reporters renew their view every five seconds. */
const FRESH_MS = 15_000;
/** When a reporter is lost, the others try within this time, each at its own moment: the first one is the next reporter. */
const TAKE_OVER_MS = 10_000;
/** How long a view is waited for that its readers are asked for. */
const REFRESH_LIMIT_MS = 2000;
/** Room for the rest of a message of 1 MiB. */
const MAX_VIEW_BYTES = 1_000_000;
/** The collector is sent this node's addresses again this often, and at once when they change. */
const RENEW_OWN_MS = 60_000;
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

/** A refresh that waits for a view of after its question. */
interface PendingRefresh {
  readonly cluster: string;
  readonly sinceMs: number;
  readonly timer: Timer;
  readonly settle: (view: ForeignView | undefined) => void;
}

export class SharedMembers implements MembersLink {
  /** Further addresses of other nodes. */
  readonly nodes = new NodeAddresses();
  readonly #clock: Pick<Clock, 'monotonic' | 'after'>;
  readonly #random: () => number;
  readonly #localAddresses: () => readonly string[];
  /** By cluster that is followed. */
  readonly #followed = new Map<string, PortMemory>();
  /** By cluster: where this node's own raylet has the head of it. */
  readonly #heads = new Map<string, readonly string[]>();
  readonly #views = new Map<string, ForeignView & { readonly heardAtMs: number }>();
  /** By cluster whose reporter is lost: from when on this agent may try. */
  readonly #tryFromMs = new Map<string, number>();
  /** By cluster: what was sent to the collector over this connection, and the members that it was made of. */
  readonly #told = new Map<string, { readonly text: string; readonly members: readonly Member[] }>();
  readonly #refreshes = new Set<PendingRefresh>();
  /** Providers that read a source, to be called when others want to know what it says now. */
  readonly #readers = new Set<(cluster: string) => void>();
  #send: ((message: SharingMessage) => void) | undefined;
  /** This node's addresses, the one first by which sources know it. */
  #own: readonly string[] = [];
  /** What was sent to the collector of them, and when; undefined until it asks. */
  #toldOwn: { text: string; atMs: number } | undefined;

  /**
   * @param random numbers from 0 up to 1, 1 excluded
   * @param localAddresses every address of this machine: what is offered there no other agent tells
   */
  constructor(
    clock: Pick<Clock, 'monotonic' | 'after'>,
    random: () => number,
    localAddresses: () => readonly string[] = () => [],
  ) {
    this.#clock = clock;
    this.#random = random;
    this.#localAddresses = localAddresses;
  }

  /**
   * The view of another agent, to rest on; undefined where this one is to ask the source itself.
   * @param heads where this node's own raylet has the head of the cluster; an agent there needs no other's word
   */
  restOn(cluster: string, heads: readonly Address[] = []): ForeignView | undefined {
    this.#noteHeads(cluster, heads);
    this.#follow(cluster);
    const view = this.#views.get(cluster);
    if (view === undefined) return undefined;
    const nowMs = this.#clock.monotonic();
    if (nowMs - view.heardAtMs >= FRESH_MS) this.#lose(cluster);
    return nowMs < (this.#tryFromMs.get(cluster) ?? Infinity) ? view : undefined;
  }

  /**
   * A view that was read after the call. Its readers are asked for it through the collector, since the one that was handed out last
   * says nothing of a node that has joined meanwhile. Undefined where none comes in time, or nobody reads the cluster any more.
   */
  refresh(cluster: string): Promise<ForeignView | undefined> {
    if (this.#send === undefined) return Promise.resolve(undefined);
    this.#follow(cluster);
    const sinceMs = this.#clock.monotonic();
    return new Promise((resolve) => {
      const timer = this.#clock.after(REFRESH_LIMIT_MS, () => pending.settle(undefined));
      const settle = (view: ForeignView | undefined): void => {
        timer.cancel();
        this.#refreshes.delete(pending);
        resolve(view);
      };
      const pending: PendingRefresh = { cluster, sinceMs, timer, settle };
      this.#refreshes.add(pending);
      this.#send?.(this.#followMessage(cluster));
    });
  }

  /** Calls `read` with the cluster when others ask for a view of it that is read now. Returns how to end that. */
  onWanted(read: (cluster: string) => void): () => void {
    this.#readers.add(read);
    return () => void this.#readers.delete(read);
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
    this.#followNodes();
    for (const cluster of this.#followed.keys()) send(this.#followMessage(cluster));
  }

  disconnected(): void {
    this.#send = undefined;
    this.#toldOwn = undefined;
    this.#settle(() => true, undefined);
  }

  /** Tells the others the addresses of this node, the one first by which sources know it; to be called now and then. */
  offerOwn(addresses: readonly Address[]): void {
    const isFirst = this.#own.length === 0;
    this.#own = addresses.slice(0, MAX_NODE_ADDRESSES).map(formatAddress);
    if (isFirst) this.#followNodes();
    this.#tellOwn();
  }

  #followNodes(): void {
    if (this.#own.length > 0) this.#send?.({ type: 'follow-members', cluster: NODES_KEY });
  }

  #tellOwn(): void {
    const [first] = this.#own;
    const told = this.#toldOwn;
    if (this.#send === undefined || told === undefined || first === undefined) return;
    const text = this.#own.join(' ');
    const nowMs = this.#clock.monotonic();
    if (text === told.text && Math.abs(nowMs - told.atMs) < RENEW_OWN_MS) return;
    this.#toldOwn = { text, atMs: nowMs };
    // The collector puts the agent's name in place of the id.
    const members = [{ id: 'this node', addresses: [...this.#own], ports: [] }];
    this.#send({ type: 'members', cluster: NODES_KEY, ageMs: 0, members });
  }

  take(message: Parameters<MembersLink['take']>[0]): void {
    const { cluster } = message;
    if (cluster === NODES_KEY) {
      this.#toldOwn ??= { text: '', atMs: -Infinity };
      this.#tellOwn();
      if (message.type === 'members') this.nodes.take(message.members ?? []);
      return;
    }
    const memory = this.#followed.get(cluster);
    if (memory === undefined) return;
    // Whoever reads the source now starts with a whole view: another one may have been taken meanwhile.
    this.#told.delete(cluster);
    if (message.type === 'members-wanted') {
      this.#lose(cluster);
      this.#settle((refresh) => refresh.cluster === cluster, undefined);
      for (const read of Array.from(this.#readers)) read(cluster);
      return;
    }
    const { reporter, ageMs } = message;
    const read = message.members?.map((member) => toMember(member, cluster, reporter));
    const members =
      read === undefined ? this.#views.get(cluster)?.members : memory.claim(read, this.#ownKeys());
    if (members === undefined) return;
    this.#tryFromMs.delete(cluster);
    const heardAtMs = this.#clock.monotonic();
    const view = { members, asOfMs: heardAtMs - ageMs, reporter, heardAtMs };
    this.#views.set(cluster, view);
    this.#settle((refresh) => refresh.cluster === cluster && view.asOfMs >= refresh.sinceMs, view);
  }

  #settle(isMeant: (refresh: PendingRefresh) => boolean, view: ForeignView | undefined): void {
    for (const refresh of Array.from(this.#refreshes)) if (isMeant(refresh)) refresh.settle(view);
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
    this.#send?.(this.#followMessage(cluster));
  }

  #followMessage(cluster: string): FollowMembers {
    const heads = this.#heads.get(cluster) ?? [];
    return { type: 'follow-members', cluster, ...(heads.length === 0 ? {} : { heads: [...heads] }) };
  }

  /** A head that moves, or whose name resolves only now, is sent at once. */
  #noteHeads(cluster: string, heads: readonly Address[]): void {
    if (heads.length === 0) return;
    const texts = heads.slice(0, MAX_NODE_ADDRESSES).map(formatAddress);
    const isSame = this.#heads.get(cluster)?.join() === texts.join();
    this.#heads.set(cluster, texts);
    if (!isSame && this.#followed.has(cluster)) this.#send?.(this.#followMessage(cluster));
  }

  #forget(cluster: string): void {
    this.#followed.delete(cluster);
    this.#heads.delete(cluster);
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
