/**
 * Which anomalies are one story as a person sees it, and what the story is called.
 *
 * Anomalies belong together across nodes: the stranger who talks to twenty nodes is one incident. What tells two
 * stories apart is what happened (the family of the kind), who the other side is, and the service.
 */
import { formatAddress, parseAddress } from '../../common/address.ts';
import type { Anomaly, AnomalyKind } from '../../common/event.ts';
import { plainText } from '../../common/plain-text.ts';
import type { Breadth } from '../store/store.ts';
import type { Story } from '../store/story-table.ts';

export interface StoryOfPeer extends Story {
  /** The stranger's address, or null where the story has none. */
  readonly peer: string | null;
}

export const SCAN_FAMILY = 'scan';
/** Families whose stories are one when a peer scans. */
export const PEER_FAMILIES: readonly string[] = ['contact', SCAN_FAMILY];

/** Kinds of one family are the same story told differently: an address may be unexpected now and a former member later. */
const FAMILIES: Readonly<Record<AnomalyKind, string>> = {
  'unexpected-peer': 'contact',
  'former-member': 'contact',
  'not-ray': 'contact',
  'unexpected-destination': 'leak',
  'new-member': 'new-member',
  'foreign-process': 'foreign-process',
  scan: SCAN_FAMILY,
  volume: 'volume',
  blind: 'blind',
  missing: 'missing',
  'stale-membership': 'stale-membership',
  'connection-attempts': 'attempt',
  'raylet-conflict': 'raylet-conflict',
};

/** The story that an anomaly is part of. */
export function storyOf(anomaly: Anomaly): StoryOfPeer {
  const family = FAMILIES[anomaly.kind];
  const peer = peerOf(anomaly);
  // A scan touches many services, and is still one scan.
  const service = family === SCAN_FAMILY ? null : (anomaly.flow?.plasmawatch.service ?? null);
  return { ...storyWith(family, subjectOf(anomaly, peer), service), peer };
}

/** The story that anomalies join when too many stories are open at once: one for each family. */
export function manyStories(kind: AnomalyKind): StoryOfPeer {
  return { ...storyWith(MANY, FAMILIES[kind], null), peer: null };
}

function storyWith(family: string, subject: string, service: string | null): Story {
  return { fingerprint: JSON.stringify([family, subject, service]), family, subject, service };
}

function subjectOf({ kind, node }: Anomaly, peer: string | null): string {
  // A head that does not answer does not answer all nodes.
  if (kind === 'stale-membership') return 'cluster';
  return peer === null || kind === 'foreign-process' ? `node ${node}` : peer;
}

/** What a title tells of. */
export interface Titled {
  readonly fingerprint: string;
  readonly kind: AnomalyKind;
  readonly breadth: Breadth;
  readonly peer: string | null;
  readonly peerCount: number;
  readonly service: string | null;
  readonly nodes: readonly string[];
  readonly nodeCount: number;
}

/** One line for people: `Unexpected peer 10.77.9.66 talks to the object manager on w1 and 2 more nodes`. */
export function titleOf(story: Titled): string {
  const { kind, breadth, peer, peerCount, nodes, nodeCount } = story;
  const others = nodeCount - 1;
  const first = plainText(nodes[0] ?? 'an unknown node');
  const where = others > 0 ? `${first} and ${others} more ${others === 1 ? 'node' : 'nodes'}` : first;
  if (isOfManyStories(story)) return `Many more anomalies of the kind ${kind} on ${where}`;
  const service = serviceInWords(story.service);
  const who = peer ?? 'an unknown address';
  if (breadth === 'peer') return `${who} scans ${where}`;
  const isOfMany = breadth === 'kind';
  const titles: Record<AnomalyKind, readonly [ofOne: string, ofMany: string]> = {
    'unexpected-peer': [
      `Unexpected peer ${who} talks to ${service} on ${where}`,
      `${peerCount} unexpected peers talk to ${service} on ${where}`,
    ],
    'unexpected-destination': [
      `Unexpected destination ${who}: connections to ${service} there from ${where}`,
      `${peerCount} unexpected destinations: connections to ${service} there from ${where}`,
    ],
    'former-member': [
      `Former member ${who} talks to ${service} on ${where}`,
      `${peerCount} former members talk to ${service} on ${where}`,
    ],
    'new-member': [`New member ${who} seen by ${where}`, `${peerCount} new members seen by ${where}`],
    'foreign-process': [
      `A foreign process uses the port of ${service} on ${where}`,
      `Foreign processes use the port of ${service} on ${where}`,
    ],
    scan: [`${who} scans ${where}`, `${peerCount} addresses scan ${where}`],
    'not-ray': [
      `${who} does not speak Ray to ${service} on ${where}`,
      `${peerCount} addresses do not speak Ray to ${service} on ${where}`,
    ],
    volume: [
      `${who} moves more than allowed through ${service} on ${where}`,
      `${peerCount} addresses move more than allowed through ${service} on ${where}`,
    ],
    'connection-attempts': [
      `Unanswered connection attempts to ${where}`,
      `Unanswered connection attempts to ${nodeCount} nodes: ${where}`,
    ],
    'raylet-conflict': [
      `Two users run a raylet on ${where}`,
      `Two users run a raylet on ${nodeCount} nodes: ${where}`,
    ],
    blind: [`Node ${where} is partly blind`, `${nodeCount} nodes are partly blind: ${where}`],
    'stale-membership': [
      `Who belongs to the cluster is out of date on ${where}`,
      `Who belongs to the cluster is out of date on ${where}`,
    ],
    missing: [
      `Nothing is heard of the agent on ${where}`,
      `Nothing is heard of the agents on ${nodeCount} nodes: ${where}`,
    ],
  };
  return titles[kind][isOfMany ? 1 : 0];
}

/** The family of `manyStories`. */
const MANY = 'many';

function isOfManyStories({ fingerprint }: Titled): boolean {
  return fingerprint.startsWith(`["${MANY}"`);
}

/** Whether the other side is the one that was called: a node opened the connection to it. */
export function isOutbound(kind: AnomalyKind): boolean {
  return kind === 'unexpected-destination' || kind === 'foreign-process';
}

function peerOf({ kind, flow, peer }: Anomaly): string | null {
  if (kind === 'blind') return null;
  if (flow === null) return peer ?? null;
  const text = isOutbound(kind) ? flow.destination.ip : flow.source.ip;
  const address = parseAddress(text);
  return address === undefined ? text : formatAddress(address);
}

function serviceInWords(service: string | null): string {
  if (service === null) return 'a watched port';
  if (service === 'gcs') return 'the GCS';
  if (service === 'worker') return 'a worker';
  return `the ${plainText(service).replaceAll('-', ' ')}`;
}
