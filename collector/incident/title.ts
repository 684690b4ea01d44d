/** The one line by which people know an incident: who did what to whom, composed by the collector from fields. */
import { OTHER_SERVICE, type AnomalyKind, type FlowState } from '../../common/event.ts';
import { plainText } from '../../common/plain-text.ts';
import type { Incident } from '../store/store.ts';
import { dataTier } from './assessment.ts';
import { COLLECTOR } from './reporter.ts';
import { familyOf, isAttemptFamily, isOverflow, programInWords } from './story.ts';

/** Characters of a program that a title shows: the end of its path, and its user. */
const MAX_PROGRAM = 80;

export type Titled = Pick<
  Incident,
  'fingerprint' | 'kind' | 'breadth' | 'peer' | 'peerCount' | 'service' | 'nodes' | 'nodeCount' | 'highlights'
>;

/** `Unexpected peer 10.77.9.66 talks to the object manager on w1 and 2 more nodes`. */
export function titleOf(incident: Titled): string {
  const { kind, breadth, peer, nodes, nodeCount, highlights } = incident;
  const [foremost] = highlights;
  // Of many members, the one that moved data is the one that matters, whichever came first.
  const outstanding = foremost !== undefined && dataTier(foremost.dataBytes) > 0 ? foremost : undefined;
  const isOfMany = breadth === 'kind';
  const seen = isOfMany ? { nodes, nodeCount } : withoutPeer(incident);
  const where = nodesInWords(
    isOfMany && outstanding !== undefined ? outstanding.node : seen.nodes[0],
    seen.nodeCount,
  );
  const who = peer ?? 'an unknown address';
  if (isOverflow(incident)) {
    const named =
      outstanding?.peer === undefined || outstanding.peer === null ? '' : `, ${outstanding.peer} foremost`;
    return `Many more anomalies of the kind ${kind} on ${where}${named}`;
  }
  if (kind === 'blind' && nodes[0] === COLLECTOR) return 'The collector is at its limits';
  if (isAttemptFamily(familyOf(incident))) return attemptTitle(incident, where);
  if (breadth === 'peer') {
    const most =
      outstanding === undefined
        ? ''
        : `, most data through ${serviceInWords(outstanding.service)} on ${plainText(outstanding.node)}`;
    return `${who} scans ${where}${most}`;
  }
  return (isOfMany ? titleOfMany : titleOfOne)(
    incident,
    where,
    isOfMany ? (outstanding?.peer ?? undefined) : who,
  );
}

function titleOfOne(incident: Titled, where: string, who = ''): string {
  const { kind, service } = incident;
  const what = serviceInWords(service);
  const titles: Readonly<Record<AnomalyKind, string>> = {
    'unexpected-peer': `Unexpected peer ${who} talks to ${what} on ${where}`,
    'unexpected-destination': `Unexpected destination ${who}: connections to ${what} there from ${where}`,
    'former-member': `Former member ${who} talks to ${what} on ${where}`,
    'new-member': `New member ${who} seen by ${where}`,
    'foreign-process': `A foreign process${programOf(incident)} uses the port of ${what} on ${where}`,
    scan: `${who} scans ${where}`,
    'not-ray': `${who} does not speak Ray to ${what} on ${where}`,
    volume: `${who} moves more than allowed through ${what} on ${where}`,
    'connection-attempts': `Unanswered connection attempts to ${where}`,
    'raylet-conflict': `Two users run a raylet on ${where}`,
    'unconfirmed-port': `The object-manager port is guessed, not confirmed, on ${where}`,
    'address-conflict': `Address ${who} has several hardware addresses on the network of ${where}`,
    blind: `Node ${where} is partly blind`,
    'stale-membership': `Who belongs to the cluster is out of date on ${where}`,
    'unknown-membership': `Cluster membership is not known yet on ${where}`,
    missing: `Nothing is heard of the agent on ${where}`,
  };
  return titles[kind];
}

/** The nodes to which something happened: not the one that is the peer itself, unless there is no other. */
function withoutPeer({ peer, nodes, nodeCount, highlights }: Titled): Pick<Titled, 'nodes' | 'nodeCount'> {
  const ofPeer = highlights.filter(({ ownAddress }) => ownAddress !== undefined && ownAddress === peer);
  const peers = new Set(ofPeer.map(({ node }) => node));
  const others = nodes.filter((node) => !peers.has(node));
  if (others.length === 0) return { nodes, nodeCount };
  return { nodes: others, nodeCount: nodeCount - (nodes.length - others.length) };
}

/** ` (/usr/bin/socat of user 0)`, where that is known. */
function programOf(incident: Titled): string {
  const program = programInWords(incident);
  return program === undefined ? '' : ` (${plainText(program).slice(-MAX_PROGRAM)})`;
}

/** @param who the member to be named before all others; undefined where none stands out */
function titleOfMany({ kind, service, peerCount, nodeCount }: Titled, where: string, who?: string): string {
  const what = serviceInWords(service);
  const many = (one: string, several: string): string =>
    who === undefined ? `${peerCount} ${several}` : `${one} ${who} and ${peerCount - 1} more`.trimStart();
  const titles: Readonly<Record<AnomalyKind, string>> = {
    'unexpected-peer': `${many('Unexpected peer', 'unexpected peers')} talk to ${what} on ${where}`,
    'unexpected-destination': `${many('Unexpected destination', 'unexpected destinations')}: connections to ${what} there from ${where}`,
    'former-member': `${many('Former member', 'former members')} talk to ${what} on ${where}`,
    'new-member': `${many('New member', 'new members')} seen by ${where}`,
    'foreign-process': `Foreign processes use the port of ${what} on ${where}`,
    scan: `${many('', 'addresses')} scan ${where}`,
    'not-ray': `${many('', 'addresses')} do not speak Ray to ${what} on ${where}`,
    volume: `${many('', 'addresses')} move more than allowed through ${what} on ${where}`,
    'connection-attempts': `Unanswered connection attempts to ${nodeCount} nodes: ${where}`,
    'raylet-conflict': `Two users run a raylet on ${nodeCount} nodes: ${where}`,
    'unconfirmed-port': `The object-manager port is guessed, not confirmed, on ${nodeCount} nodes: ${where}`,
    'address-conflict': `${many('Address', 'addresses')} have several hardware addresses on the network of ${where}`,
    blind: `${nodeCount} nodes are partly blind: ${where}`,
    'stale-membership': `Who belongs to the cluster is out of date on ${where}`,
    'unknown-membership': `Cluster membership is not known yet on ${where}`,
    missing: `Nothing is heard of the agents on ${nodeCount} nodes: ${where}`,
  };
  return titles[kind];
}

/** Nobody answered, so the address is what a packet claimed: of many it says nothing to name one. */
function attemptTitle(incident: Titled, where: string): string {
  const { kind, breadth, peer, peerCount, service, highlights } = incident;
  if (kind === 'connection-attempts') return (breadth === 'kind' ? titleOfMany : titleOfOne)(incident, where);
  const what = breadth === 'peer' ? 'many services' : serviceInWords(service);
  const outcome = OUTCOMES[highlights[0]?.state ?? 'attempt'] ?? 'in a tunnel that does not end here';
  const [one, several] = ATTEMPTING[kind] ?? ['Unknown peer', 'unknown peers'];
  if (kind === 'unexpected-destination') {
    const whom = breadth === 'kind' ? `${peerCount} ${several}` : `${one.toLowerCase()} ${peer ?? ''}`.trim();
    return `Connection attempts to ${what} of ${whom} from ${where} (${outcome})`;
  }
  const who = breadth === 'kind' ? `${peerCount} ${several}` : `${one} ${peer ?? ''}`.trim();
  return `${who} tried to connect to ${what} of ${where} (${outcome})`;
}

const OUTCOMES: Readonly<Partial<Record<FlowState, string>>> = { attempt: 'no answer', refused: 'refused' };

const ATTEMPTING: Readonly<Partial<Record<AnomalyKind, readonly [one: string, several: string]>>> = {
  'former-member': ['Former member', 'former members'],
  'unexpected-destination': ['Unexpected destination', 'unexpected destinations'],
  'foreign-process': ['A foreign process', 'foreign processes'],
};

function nodesInWords(node: string | undefined, nodeCount: number): string {
  const others = nodeCount - 1;
  const first = plainText(node ?? 'an unknown node');
  return others > 0 ? `${first} and ${others} more ${others === 1 ? 'node' : 'nodes'}` : first;
}

/** Every service that the rules know, as people call it. */
const SERVICES: Readonly<Record<string, string>> = {
  'object-manager': 'the object manager',
  'node-manager': 'the node manager',
  gcs: 'the GCS',
  dashboard: 'the dashboard',
  'client-server': 'the Ray Client server',
  'dashboard-agent': 'the dashboard agent',
  'dashboard-agent-grpc': 'the gRPC server of the dashboard agent',
  'metrics-export': 'the metrics endpoint',
  'runtime-env-agent': 'the runtime environment agent',
  worker: 'a worker',
  driver: 'a driver',
  serve: 'Ray Serve',
  [OTHER_SERVICE]: 'another service',
};

function serviceInWords(service: string | null): string {
  if (service === null) return 'a watched port';
  return Object.hasOwn(SERVICES, service)
    ? (SERVICES[service] ?? service)
    : `the service ${plainText(service)}`;
}
