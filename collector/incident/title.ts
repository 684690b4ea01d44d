/** The one line by which people know an incident: who did what to whom, composed by the collector from fields. */
import type { AnomalyKind, FlowState } from '../../common/event.ts';
import { plainText } from '../../common/plain-text.ts';
import type { Incident } from '../store/store.ts';
import { dataTier } from './assessment.ts';
import { COLLECTOR } from './reporter.ts';
import { familyOf, isAttemptFamily, isOverflow } from './story.ts';

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
  const where = nodesInWords(isOfMany && outstanding !== undefined ? outstanding.node : nodes[0], nodeCount);
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

function titleOfOne({ kind, service }: Titled, where: string, who = ''): string {
  const what = serviceInWords(service);
  const titles: Readonly<Record<AnomalyKind, string>> = {
    'unexpected-peer': `Unexpected peer ${who} talks to ${what} on ${where}`,
    'unexpected-destination': `Unexpected destination ${who}: connections to ${what} there from ${where}`,
    'former-member': `Former member ${who} talks to ${what} on ${where}`,
    'new-member': `New member ${who} seen by ${where}`,
    'foreign-process': `A foreign process uses the port of ${what} on ${where}`,
    scan: `${who} scans ${where}`,
    'not-ray': `${who} does not speak Ray to ${what} on ${where}`,
    volume: `${who} moves more than allowed through ${what} on ${where}`,
    'connection-attempts': `Unanswered connection attempts to ${where}`,
    'raylet-conflict': `Two users run a raylet on ${where}`,
    'unconfirmed-port': `The object-manager port is guessed, not confirmed, on ${where}`,
    blind: `Node ${where} is partly blind`,
    'stale-membership': `Who belongs to the cluster is out of date on ${where}`,
    'unknown-membership': `Cluster membership is not known yet on ${where}`,
    missing: `Nothing is heard of the agent on ${where}`,
  };
  return titles[kind];
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

function serviceInWords(service: string | null): string {
  if (service === null) return 'a watched port';
  if (service === 'gcs') return 'the GCS';
  if (service === 'worker') return 'a worker';
  return `the ${plainText(service).replaceAll('-', ' ')}`;
}
