/**
 * The provider `ray: auto`: what Ray itself says about the cluster, seen from this node. The raylets of this network
 * namespace (found in /proc) tell this node's ports and, where they are proven, where the head is; the head's dashboard, where it can be
 * reached, lists the other nodes with their ports. Ray's token goes to the head that a proven raylet names, and nowhere else.
 *
 * Ray's list is evidence, not proof: whoever runs `ray start --address` is on it.
 */
import { formatAddress, isLoopbackHost, parseAddress, type Address } from '../../common/address.ts';
import type { Clock } from '../../common/clock.ts';
import { messageOf } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import { DEFAULT_DASHBOARD_PORT, listNodes, NodeMemory, type ListedNode } from '../ray/dashboard.ts';
import type { HttpGet } from '../ray/http-get.ts';
import type { Raylet } from '../ray/raylet.ts';
import { addressKey } from './address-history.ts';
import { LookLoop } from './look-loop.ts';
import type { GroupView, LookResult, Member, Provider } from './provider.ts';
import {
  clusterKey,
  findHeads,
  headMembers,
  isNamed,
  isOwnAddress,
  isSameHead,
  ownMember,
  portsOfHead,
  toAddresses,
  type Head,
} from './ray-node.ts';
import { ListedNames } from './listed-names.ts';
import { ResolvedNames, type ResolveHost } from './resolved-names.ts';
import type { SharedMembers } from './shared.ts';

/** How often it is seen which raylets run here, and whether the head is to be asked. */
const POLL_INTERVAL_MS = 5000;
/**
 * The head is asked less often where its answer is large, so that reading takes 0.15 % of a core: it takes some 6 ms of CPU time for
 * each megabyte, of which there are ten for 1,000 nodes. Whoever is not known and talks has it asked at once.
 */
const MILLISECONDS_A_MEGABYTE = 4000;
const LONGEST_ASK_INTERVAL_MS = 60_000;
/** An interval may be so much shorter: timers are not exact. */
const TIMER_SLACK_MS = 500;
/** Time without a proven raylet after which the head is asked no more, though an unproven one is here. */
const UNPROVEN_FOR_MS = 10_000;
const LOOPBACK = '127.0.0.1';
/** Addresses of a head elsewhere that are asked, one after the other. */
const MAX_ASKED = 3;
/** How long a look waits for names; questions that take longer are answered to the next look. */
const NAME_LIMIT_MS = 2000;
/** Of the heads whose nodes are not members. */
const MAX_NAMED_HEADS = 5;
const NO_PORTS: Member['ports'] = new Map();

interface RayDependencies {
  readonly clock: Clock;
  /** The age, in ms, past which the last list is an incident; the head is asked at least twice in it. */
  readonly staleAfterMs?: number | undefined;
  readonly logger: Logger;
  readonly fetch: HttpGet;
  /**
   * The raylets of this network namespace. Rejects while they cannot be looked for.
   * @param isUrgent whether somebody waits for one that may have just started
   */
  readonly findRaylets: (isUrgent?: boolean) => Promise<readonly Raylet[]>;
  /** All addresses of a host name, as the system tells them: the head may be named, and so may nodes. */
  readonly resolve?: ResolveHost;
  /** Every address of this machine. */
  readonly localAddresses: () => readonly string[];
  /**
   * The users of whom one gets a connection to an endpoint of this machine; left out where the machine is another one. Whoever has
   * an account here can listen in the place of a dashboard that does not run, or beside it at another address.
   */
  readonly listeningUsers?: ((address: Address, port: number) => Promise<ReadonlySet<number>>) | undefined;
  /** What other agents have read of the cluster, and where ours goes. */
  readonly sharedMembers?: SharedMembers | undefined;
  /** Ray's own token, where the cluster wants one. */
  readonly rayToken?: string | undefined;
}

/** The dashboard's last good list, or another agent's. */
interface NodeList {
  readonly members: readonly Member[];
  /** When it was asked for. */
  readonly asOfMs: number;
  /** Ids of nodes that Ray says are dead. */
  readonly ended?: readonly string[];
}

export function createRayProvider(dependencies: RayDependencies): Provider {
  const {
    clock,
    logger,
    resolve = () => Promise.reject(new Error('host names are not resolved here')),
  } = dependencies;
  const headNames = new ResolvedNames({
    clock,
    logger,
    resolve,
    maxNames: MAX_NAMED_HEADS,
    text: "name of the cluster's head does not resolve",
  });
  const listedNames = new ListedNames({ clock, logger, resolve });
  /** The addresses that the head's name had at first. */
  let firstOfHead: { readonly head: Head; readonly addresses: readonly Address[] } | undefined;
  const memory = new NodeMemory();
  const toList = rememberList();
  let publish: ((view: GroupView) => void) | undefined;
  /** The head that was found last; it stays a member when the raylet of this node has ended, and is asked no more. */
  let head: Head | undefined;
  /** When a proven raylet named it last, or might have. */
  let provenAtMs = -Infinity;
  /** Its cluster, whose shared view is followed on. */
  let cluster: string | undefined;
  let listed: NodeList | undefined;
  /** Since when a raylet is here, or may be, and nobody has told of the other nodes. */
  let waitingSinceMs: number | undefined;
  /** The head that was asked last. */
  let asked: Head | undefined;
  let isDashboardAway = false;
  let isSaidUnproven = false;
  let isSaidSeveral = false;
  /** Where only the head reaches its dashboard, the others never ask it with somebody waiting. */
  let hasDashboardAnswered = false;

  async function look(isUrgent: boolean): Promise<LookResult> {
    // A raylet that cannot be looked for may be there.
    const found = await dependencies.findRaylets(isUrgent).catch(() => undefined);
    const raylets = found ?? [];
    noteUnproven(raylets);
    // Of several heads the one that was known before: a raylet that starts later does not turn the others away from it.
    const heads = await resolveHeads(findHeads(raylets), isUrgent);
    head = heads.find((each) => head !== undefined && isSameHead(each, head)) ?? heads[0] ?? head;
    noteSeveral(head, heads);
    noteAddressesOf(head);
    const known = head;
    if (found === undefined || heads.some((each) => known !== undefined && isSameHead(each, known)))
      provenAtMs = clock.monotonic();
    // Whose proof is late on a busy node is still here: only a node without any raylet has left at once.
    const isOfCluster = found?.length !== 0 && clock.monotonic() - provenAtMs < UNPROVEN_FOR_MS;
    // Without a raylet the view of its cluster is followed on; another raylet's cluster is its own.
    if (heads.length > 0) cluster = clusterKey(raylets, head);
    const result = await learnNodes(isOfCluster ? head : undefined, cluster, isUrgent);
    const local = dependencies.localAddresses();
    const members = [
      ownMember(raylets, local),
      ...headMembers(head, local, firstOfHead?.addresses),
      ...(listed?.members ?? []),
    ];
    const unresolvedNames = [...headNames.failing, ...listedNames.failing];
    const isNobodyHere = found?.length === 0;
    waitingSinceMs = isNobodyHere || listed !== undefined ? undefined : (waitingSinceMs ?? clock.monotonic());
    // Where no raylet runs, nothing of Ray is here that would need to know the others.
    const asOfMs = isNobodyHere ? undefined : (listed?.asOfMs ?? waitingSinceMs);
    publish?.({
      members,
      prefixes: [],
      ...(asOfMs === undefined ? {} : { asOfMs }),
      ...(listed === undefined ? { isPartial: true } : {}),
      ...(listed?.ended === undefined ? {} : { ended: listed.ended }),
      ...(unresolvedNames.length === 0 ? {} : { unresolvedNames }),
    });
    return result;
  }

  /** The heads with the addresses of those that are named; a name keeps its last ones while it does not resolve. */
  async function resolveHeads(heads: readonly Head[], isUrgent: boolean): Promise<Head[]> {
    const named = heads.filter(isNamed).map(({ address }) => address);
    await headNames.follow(named, isUrgent, NAME_LIMIT_MS);
    return heads.map((each) =>
      isNamed(each) ? { ...each, addresses: headNames.of(each.address).addresses } : each,
    );
  }

  /** Whoever answers for DNS can lead the head's name elsewhere: that is said, and a further address is no longer a matter of course. */
  function noteAddressesOf(known: Head | undefined): void {
    if (known === undefined || known.addresses.length === 0) return;
    if (firstOfHead === undefined || !isSameHead(firstOfHead.head, known)) {
      firstOfHead = { head: known, addresses: known.addresses };
      return;
    }
    const before = new Set(firstOfHead.head.addresses.map(addressKey));
    if (known.addresses.some((address) => !before.has(addressKey(address))))
      logger.warn(
        { host: known.address, addresses: known.addresses.slice(0, MAX_NAMED_HEADS).map(formatAddress) },
        "name of the cluster's head has another address",
      );
    firstOfHead = { head: known, addresses: firstOfHead.addresses };
  }

  /** Says once that raylets are here of which none is believed. */
  function noteUnproven(raylets: readonly Raylet[]): void {
    const [raylet] = raylets;
    const isUnproven = raylet !== undefined && !raylet.isProven;
    if (isUnproven && !isSaidUnproven) {
      const { pid, userId, doubt } = raylet;
      logger.warn(
        { pid, user: userId, doubt },
        'raylet not proven: it names no members (settings ray.user and ray.executable)',
      );
    }
    isSaidUnproven = isUnproven;
  }

  /** Says once that nodes of further clusters are strangers: who runs code as Ray's user can name a head of his own. */
  function noteSeveral(known: Head | undefined, heads: readonly Head[]): void {
    const others = heads.filter((each) => known !== undefined && !isSameHead(each, known));
    if (others.length > 0 && !isSaidSeveral) {
      logger.warn(
        {
          head: known?.address,
          others: [...new Set(others.map(({ address }) => address))].slice(0, MAX_NAMED_HEADS),
        },
        'raylets of several clusters: members are those of one head (name the others in the rules)',
      );
    }
    isSaidSeveral = others.length > 0;
  }

  /** From the view that another agent has read, where there is a fresh one, or else from the head. */
  async function learnNodes(
    from: Head | undefined,
    of: string | undefined,
    isUrgent: boolean,
  ): Promise<LookResult> {
    const { sharedMembers } = dependencies;
    const shared = of === undefined ? undefined : sharedMembers?.restOn(of, head?.addresses);
    if (shared !== undefined) listed = shared;
    if (shared !== undefined && !isUrgent) return 'answered';
    // Somebody unknown talks, and the view may be of before that node joined. Where only the head reaches its dashboard, or this agent
    // has never had to ask it, those are asked that read it.
    const mayAskItself = from !== undefined && hasDashboardAnswered && !isDashboardAway;
    if (of !== undefined && shared !== undefined && !mayAskItself) {
      const refreshed = await sharedMembers?.refresh(of);
      if (refreshed !== undefined) {
        listed = refreshed;
        return 'answered';
      }
    }
    if (from !== undefined && (isUrgent || isDashboardDue(from))) await askDashboard(from, isUrgent);
    if (of !== undefined && from !== undefined && !isDashboardAway && listed !== undefined)
      sharedMembers?.offer(of, listed.members, clock.monotonic() - listed.asOfMs);
    if (from === undefined) return shared === undefined ? 'answered' : 'failed';
    return isDashboardAway && (hasDashboardAnswered || shared !== undefined) ? 'failed' : 'answered';
  }

  /** Whether the list is to be renewed. It may be another agent's, which ages as well, or that of another head. */
  function isDashboardDue(from: Head): boolean {
    if (asked === undefined || listed === undefined || isDashboardAway || !isSameHead(asked, from))
      return true;
    const answerMs = (memory.answerBytes / 1e6) * MILLISECONDS_A_MEGABYTE;
    const longestMs = Math.min(LONGEST_ASK_INTERVAL_MS, (dependencies.staleAfterMs ?? Infinity) / 2);
    const intervalMs = Math.min(longestMs, Math.max(POLL_INTERVAL_MS, answerMs));
    return clock.monotonic() - listed.asOfMs >= intervalMs - TIMER_SLACK_MS;
  }

  async function askDashboard(from: Head, isUrgent: boolean): Promise<void> {
    const { address, dashboardPort: port = DEFAULT_DASHBOARD_PORT } = from;
    const asOfMs = clock.monotonic();
    asked = from;
    try {
      const nodes = await listedNames.resolve(
        await listFrom(await dashboardHosts(from, port), port, {
          isUrgent,
          token: mayHaveToken(from) ? dependencies.rayToken : undefined,
        }),
        NAME_LIMIT_MS,
      );
      const own = new Set(toAddresses(dependencies.localAddresses()).map(addressKey));
      listed = { ...toList(nodes, portsOfHead({ ...from, dashboardPort: port }), own), asOfMs };
      if (isDashboardAway) logger.info({ head: address }, 'the Ray dashboard answers again');
      isDashboardAway = false;
      hasDashboardAnswered = true;
    } catch (error) {
      if (!isDashboardAway) {
        logger.warn(
          { head: address, reason: messageOf(error) },
          'the Ray dashboard does not answer: other nodes stay as last known',
        );
      }
      isDashboardAway = true;
    }
  }

  /** The first that answers; where none does, the last one's reason. */
  async function listFrom(
    [host = '', ...others]: readonly string[],
    port: number,
    question: { readonly isUrgent: boolean; readonly token: string | undefined },
  ): Promise<readonly ListedNode[]> {
    try {
      return await listNodes({ host, port, fetch: dependencies.fetch, memory, ...question });
    } catch (error) {
      if (others.length === 0) throw error;
      return await listFrom(others, port, question);
    }
  }

  /**
   * Unless told otherwise, the dashboard listens on the head's loopback only. On this node only those are asked who listen as root
   * or as the raylet's user: as long as such a socket is there, nobody else can take its place.
   *
   * Where Ray says that the dashboard is on the head's loopback, whoever has an account there can listen at the head's address: it is
   * not asked from another node.
   * @throws where this node is the head, and none is there; where it is not, and the dashboard is not to be reached
   */
  async function dashboardHosts(
    { address, addresses, userId, dashboardHost }: Head,
    port: number,
  ): Promise<string[]> {
    if (addresses.length === 0) {
      const { failure } = headNames.of(address);
      throw new Error(`the name does not resolve: ${failure ?? 'it has no address'}`);
    }
    const local = dependencies.localAddresses();
    const own = addresses.filter((each) => isOwnAddress(each, local));
    const elsewhere = addresses.filter((each) => !isOwnAddress(each, local)).map(formatAddress);
    const isOnLoopback = dashboardHost !== undefined && isLoopbackHost(dashboardHost);
    const hosts = own.length === 0 ? [] : await ownDashboardHosts(own, userId, port);
    if (!isOnLoopback) hosts.push(...elsewhere.slice(0, MAX_ASKED));
    if (hosts.length > 0) return hosts;
    throw new Error(`Ray has it listen on the loopback of the head only (${dashboardHost})`);
  }

  /** @throws where none is there, or one of somebody else */
  async function ownDashboardHosts(
    addresses: readonly Address[],
    userId: number,
    port: number,
  ): Promise<string[]> {
    const { listeningUsers } = dependencies;
    const hosts = [LOOPBACK, ...addresses.map(formatAddress).filter((host) => host !== LOOPBACK)];
    if (listeningUsers === undefined) return hosts;
    const trusted: string[] = [];
    const others = new Set<number>();
    for (const host of hosts) {
      const parsed = parseAddress(host);
      const users = [...(parsed === undefined ? [] : await listeningUsers(parsed, port))];
      const foreign = users.filter((user) => user !== 0 && user !== userId);
      for (const user of foreign) others.add(user);
      if (users.length > 0 && foreign.length === 0) trusted.push(host);
    }
    if (trusted.length > 0) return trusted;
    if (others.size === 0) throw new Error(`nobody listens at port ${port}`);
    throw new Error(`port ${port} is of user ${[...others].join(', ')}, and the raylet of user ${userId}`);
  }

  /** On another node only where Ray says that the dashboard is there: who runs without one leaves its port to anybody. */
  function mayHaveToken(from: Head): boolean {
    const local = dependencies.localAddresses();
    return (
      from.dashboardHost !== undefined || from.addresses.every((address) => isOwnAddress(address, local))
    );
  }

  const loop = new LookLoop({ clock, intervalMs: () => POLL_INTERVAL_MS, look });
  let stopReading: (() => void) | undefined;
  let isReadWanted = false;

  /** Others rest on what this agent reads, and one of them wants to know what the source says now. */
  function readForOthers(wanted: string): void {
    if (wanted !== cluster || isReadWanted || dependencies.sharedMembers?.restOn(wanted) !== undefined)
      return;
    isReadWanted = true;
    void loop.lookNow().finally(() => (isReadWanted = false));
  }

  return {
    name: 'ray',
    start(take) {
      publish = take;
      stopReading = dependencies.sharedMembers?.onWanted(readForOthers);
      return loop.start();
    },
    refresh: () => loop.lookNow(),
    stop() {
      stopReading?.();
      return loop.stop();
    },
  };
}

type ToList = (
  nodes: readonly ListedNode[],
  headPorts: ReadonlyMap<string, readonly number[]>,
  own: ReadonlySet<string>,
) => Pick<NodeList, 'members' | 'ended'>;

/** A function that gives the same list again where nothing has changed: nobody has to compare a thousand members then. */
function rememberList(): ToList {
  let last: { nodes: readonly ListedNode[]; rest: string; list: ReturnType<ToList> } | undefined;
  return (nodes, headPorts, own) => {
    const rest = JSON.stringify([[...headPorts], [...own]]);
    if (last?.nodes === nodes && last.rest === rest) return last.list;
    const list = {
      members: nodes.filter(({ isAlive }) => isAlive).map((node) => toMember(node, headPorts, own)),
      ended: nodes.filter(({ isAlive }) => !isAlive).map(({ nodeId }) => nodeId),
    };
    last = { nodes, rest, list };
    return list;
  };
}

function toMember(
  { nodeId, address, isHead, ports: told }: ListedNode,
  headPorts: ReadonlyMap<string, readonly number[]>,
  own: ReadonlySet<string>,
): Member {
  const addresses = toAddresses([address]);
  const ports = isHead ? new Map([...told, ...headPorts]) : told;
  // What this node itself offers it knows better than the head.
  const isOwn = addresses.some((each) => own.has(addressKey(each)));
  return {
    id: nodeId,
    hasFleetingId: true,
    addresses,
    role: isHead ? 'head' : 'worker',
    ...(isOwn ? { ports: NO_PORTS, claimedPorts: ports } : { ports }),
    source: 'ray',
  };
}
