/**
 * Where this node's object manager is, and who says so. A port that nobody confirms is a guess, and a guess is said aloud: a node
 * that is watched at the wrong port looks healthy.
 *
 * Confirmed is what a proven raylet is seen to listen at, what a list of nodes tells of this node where somebody does listen there, what
 * the pods state, and what the operator wrote, unless a raylet here listens elsewhere. What a program claims confirms nothing.
 */
import { parseAddress, type Address } from '../../common/address.ts';
import type { PortSource } from '../../common/port-source.ts';
import { OBJECT_MANAGER, type PortRange, type ServicePorts } from '../../rules/schema.ts';
import type { Raylet } from '../ray/raylet.ts';
import { addressKey } from './address-history.ts';
import type { Member } from './provider.ts';

/** The object-manager port of this node. */
export interface OwnPort {
  readonly source: PortSource;
  /** Where it may be; of a guess the ports that are watched for want of a better one. */
  readonly ports: readonly number[];
  /** Of a guess: why nobody confirms it. */
  readonly doubt?: string;
}

interface OwnPortSearch {
  /** The watched services, as the rules give them. */
  readonly services: ReadonlyMap<string, ServicePorts>;
  /** The nodes that the sources of the cluster list. */
  readonly members: readonly Member[];
  /** The raylets of this node; undefined where they cannot be looked for. */
  readonly raylets: readonly Raylet[] | undefined;
  /** Every address of this machine. */
  readonly localAddresses: readonly string[];
  /** Whether somebody listens at an endpoint of this machine; left out where that cannot be seen. */
  readonly isListenedAt?: ((address: Address, port: number) => Promise<boolean>) | undefined;
  /** The ports that are watched for want of a better one. */
  readonly guessed: readonly number[];
}

/** Whether somebody has confirmed the port, or nobody needs to. */
export function isConfirmed({ source }: Pick<OwnPort, 'source'>): boolean {
  return source !== 'guess';
}

/** The port in words: `43800 guessed, not confirmed: no raylet is seen here`. */
export function portInWords({ source, ports, doubt }: OwnPort): string {
  const which = ports.length === 0 ? 'object-manager port' : `object-manager port ${ports.join(' or ')}`;
  if (source === 'guess') return `${which} guessed, not confirmed: ${doubt ?? 'nobody tells it'}`;
  return source === 'not expected'
    ? `${which}: no raylet is expected here`
    : `${which}, as told by: ${source}`;
}

export async function findOwnPort(search: OwnPortSearch): Promise<OwnPort> {
  const { services, raylets, guessed } = search;
  const proven = (raylets ?? []).filter(({ isProven }) => isProven);
  const pinned = services.get(OBJECT_MANAGER) ?? 'auto';
  const unclear = proven.find((raylet) => listenedBy(raylet).length === 0);
  if (pinned !== 'auto') return pinnedPort(pinned, proven);
  if (unclear !== undefined)
    return { source: 'guess', ports: guessed, doubt: `where raylet ${unclear.pid} listens is not known` };
  if (proven.length > 0) return { source: 'raylet', ports: unique(proven.flatMap(listenedBy)) };
  return (
    (await listedPort(search)) ??
    podPort(search) ?? { source: 'guess', ports: guessed, doubt: doubtOf(raylets) }
  );
}

function listenedBy({ objectManagerPort, listeningPorts = [] }: Raylet): readonly number[] {
  return objectManagerPort === undefined ? listeningPorts : [objectManagerPort];
}

/** What the rules say, unless a raylet here says otherwise. */
function pinnedPort(pinned: readonly PortRange[], proven: readonly Raylet[]): OwnPort {
  const isWatched = (port: number): boolean =>
    pinned.some(({ first, last }) => port >= first && port <= last);
  const ports = pinned.map(({ first }) => first);
  const elsewhere = proven.find((raylet) => {
    const listened = listenedBy(raylet);
    return listened.length > 0 && !listened.some(isWatched);
  });
  if (elsewhere === undefined) return { source: 'rules', ports };
  const actual = listenedBy(elsewhere).join(' or ');
  return {
    source: 'guess',
    ports,
    doubt: `the rules say so, and raylet ${elsewhere.pid} listens at ${actual}`,
  };
}

/** What a list of nodes tells of this one. Where nobody listens the list is old, or wrong. */
async function listedPort({
  members,
  localAddresses,
  isListenedAt,
}: OwnPortSearch): Promise<OwnPort | undefined> {
  const own = new Set(localAddresses.flatMap((text) => parseAddress(text) ?? []).map(addressKey));
  for (const member of members) {
    const address =
      member.isLocal === true ? undefined : member.addresses.find((each) => own.has(addressKey(each)));
    if (address === undefined) continue;
    for (const port of portsOf(member)) {
      if (isListenedAt === undefined || (await isListenedAt(address, port)))
        return { source: sourceOf(member), ports: [port] };
    }
  }
  return undefined;
}

/** An agent on a Kubernetes node watches the pods of that node, which have networks of their own. */
function podPort({ members }: OwnPortSearch): OwnPort | undefined {
  const pods = members.filter(({ source }) => source.startsWith('kubernetes'));
  const ports = unique(pods.flatMap(portsOf));
  const isEachKnown = pods.length > 0 && pods.every((pod) => portsOf(pod).length > 0);
  return isEachKnown ? { source: 'pod', ports } : undefined;
}

function portsOf({ ports, claimedPorts }: Member): readonly number[] {
  return [...(ports.get(OBJECT_MANAGER) ?? []), ...(claimedPorts?.get(OBJECT_MANAGER) ?? [])];
}

function sourceOf({ source, readBy }: Member): PortSource {
  if (readBy !== undefined) return 'shared view';
  if (source.startsWith('ray')) return 'dashboard';
  return source.startsWith('kubernetes') ? 'pod' : 'rules';
}

function doubtOf(raylets: readonly Raylet[] | undefined): string {
  if (raylets === undefined) return 'raylets cannot be looked for';
  const [raylet] = raylets;
  return raylet === undefined ? 'no raylet is seen here' : `raylet ${raylet.pid} is not proven`;
}

function unique(ports: readonly number[]): number[] {
  return [...new Set(ports)];
}
