/**
 * Which incident an anomaly belongs to by its fields: its correlation key. Anomalies belong together across nodes: an
 * unknown peer that talks to twenty nodes is one incident. What tells two keys apart is what happened (the family of the
 * kind, and whether anybody answered), who the other side is, and the service.
 */
import { formatAddress, parseAddress, parseFlowAddress } from '../../common/address.ts';
import type { Anomaly, AnomalyKind } from '../../common/event.ts';
import type { Story } from '../store/story-table.ts';
import { assess, dataTier } from './assessment.ts';
import { COLLECTOR } from './reporter.ts';

export interface StoryOfPeer extends Story {
  /** The unknown peer's address, or null where the anomaly has none. */
  readonly peer: string | null;
  /** The data tier of the anomaly (assessment.ts). */
  readonly tier: number;
}

const SCAN_FAMILY = 'scan';
const CONTACT_FAMILY = 'contact';
/** Of the limits of the collector itself. */
const LIMITS_FAMILY = 'limits';
/** Of what nobody answered: a sender that was never heard may be invented, so it shares no incident with one that was. */
const ATTEMPT_SUFFIX = '-attempt';
/** Families whose activities are one incident when a peer scans: answered ones, and attempts. */
const PEER_FAMILIES: readonly (readonly string[])[] = [
  [CONTACT_FAMILY, SCAN_FAMILY],
  [CONTACT_FAMILY + ATTEMPT_SUFFIX, SCAN_FAMILY + ATTEMPT_SUFFIX],
];

/** Kinds of one family are the same story told differently: an address may be unexpected now and a former member later. */
const FAMILIES: Readonly<Record<AnomalyKind, string>> = {
  'unexpected-peer': CONTACT_FAMILY,
  'former-member': CONTACT_FAMILY,
  'not-ray': CONTACT_FAMILY,
  'unexpected-destination': 'leak',
  'new-member': 'new-member',
  'foreign-process': 'foreign-process',
  scan: SCAN_FAMILY,
  volume: 'volume',
  blind: 'blind',
  missing: 'missing',
  'stale-membership': 'stale-membership',
  'unknown-membership': 'unknown-membership',
  'connection-attempts': CONTACT_FAMILY,
  'raylet-conflict': 'raylet-conflict',
  'unconfirmed-port': 'unconfirmed-port',
  'address-conflict': 'address-conflict',
};

/** The correlation key of an anomaly. */
export function storyOf(anomaly: Anomaly): StoryOfPeer {
  const { isAttempt, dataBytes } = assess(anomaly);
  // What the collector says of itself is no part of what nodes say of themselves.
  const base = anomaly.node === COLLECTOR ? LIMITS_FAMILY : FAMILIES[anomaly.kind];
  const family = isAttempt ? base + ATTEMPT_SUFFIX : base;
  const peer = peerOf(anomaly);
  const tier = dataTier(dataBytes);
  // A scan touches many services, and is still one scan.
  const service = base === SCAN_FAMILY ? null : (anomaly.flow?.plasmawatch.service ?? null);
  const subject = subjectOf(anomaly, peer);
  return {
    fingerprint: JSON.stringify([family, subject, service]),
    // Only what is alike in all of these is a burst: what moved more stands out.
    burst: JSON.stringify([family, anomaly.kind, service, tier]),
    family,
    subject,
    service,
    agent: anomaly.node,
    peer,
    tier,
  };
}

/** What an agent with too many unresolved incidents reports beyond them: one incident for each family. */
export function overflowOf(family: string, agent: string): StoryOfPeer {
  const subject = `node ${agent}`;
  const fingerprint = JSON.stringify([OVERFLOW, family, agent]);
  return { fingerprint, burst: '', family: OVERFLOW, subject, service: null, agent, peer: null, tier: 0 };
}

/** Which of two kinds of one family an incident has: the one that people take more seriously, whichever came first. */
export function graverKind(kind: AnomalyKind, other: AnomalyKind): AnomalyKind {
  return GRAVITY.indexOf(other) > GRAVITY.indexOf(kind) && GRAVITY.includes(kind) ? other : kind;
}

/** Of contacts. A silence for former members is none for an unknown peer that an agent calls one. */
const GRAVITY: readonly AnomalyKind[] = ['former-member', 'not-ray', 'unexpected-peer'];

/** The families that are one incident when a peer scans; none for a family that has no part in a scan. */
export function peerFamilies(family: string): readonly string[] {
  return PEER_FAMILIES.find((families) => families.includes(family)) ?? [];
}

/** Whether a family is that of scans, as agents report them. */
export function isScanFamily(family: string): boolean {
  return family === SCAN_FAMILY || family === SCAN_FAMILY + ATTEMPT_SUFFIX;
}

/** Whether a family is that of attempts. */
export function isAttemptFamily(family: string): boolean {
  return family.endsWith(ATTEMPT_SUFFIX);
}

/** The family that an activity has once it is answered. */
export function answeredFamily(family: string): string {
  return isAttemptFamily(family) ? family.slice(0, -ATTEMPT_SUFFIX.length) : family;
}

/** The family of an incident, by the correlation key that opened it; of an overflow, that of its anomalies. */
export function familyOf({ fingerprint }: { readonly fingerprint: string }): string {
  const [, family = '', subject = ''] = /^\["([^"]*)","([^"]*)"/.exec(fingerprint) ?? [];
  return family === OVERFLOW ? subject : family;
}

/** Whether an incident holds what an agent reported beyond its share. */
export function isOverflow({ fingerprint }: { readonly fingerprint: string }): boolean {
  return fingerprint.startsWith(`["${OVERFLOW}"`);
}

const OVERFLOW = 'many';

/** The program that an incident about a foreign process is about, as a person reads it; undefined where it names none. */
export function programInWords({ fingerprint }: { readonly fingerprint: string }): string | undefined {
  const [, subject = ''] = fingerprint === '' ? [] : (JSON.parse(fingerprint) as string[]);
  const [, program] = /^node [A-Za-z0-9._:-]+ (\[.*\])$/s.exec(subject) ?? [];
  if (program === undefined) return undefined;
  const [user, file] = JSON.parse(program) as (string | null)[];
  return [file ?? 'a process', user === null ? '' : `of user ${user}`].join(' ').trim();
}

function subjectOf(anomaly: Anomaly, peer: string | null): string {
  const { kind, node } = anomaly;
  // A head that does not answer does not answer all nodes.
  if (kind === 'stale-membership' || kind === 'unknown-membership') return 'cluster';
  if (kind === 'foreign-process') return `node ${node}${programOf(anomaly)}`;
  return peer ?? `node ${node}`;
}

/** A program of a user, as its agent tells programs apart: by the file that runs, or else the name, and the container. */
function programOf({ process, user, container }: Anomaly): string {
  const program = process?.executable ?? process?.name;
  if (program === undefined && user === undefined && container === undefined) return '';
  return ` ${JSON.stringify([user?.id ?? null, program ?? null, container?.id ?? null])}`;
}

/**
 * Whether an anomaly of this kind says itself that it is over. These are about a node; an agent that could end what it
 * reports of peers could report, and bring about messages, without end.
 */
export function endsByItself(kind: AnomalyKind): boolean {
  return KINDS_OF_NODES.has(kind);
}

const KINDS_OF_NODES: ReadonlySet<AnomalyKind> = new Set<AnomalyKind>([
  'blind',
  'missing',
  'stale-membership',
  'unknown-membership',
  'connection-attempts',
  'raylet-conflict',
  'unconfirmed-port',
]);

/** Whether the other side is the one that was called: a node opened the connection to it. */
export function isOutbound(kind: AnomalyKind): boolean {
  return kind === 'unexpected-destination' || kind === 'foreign-process';
}

/** The address that an anomaly is about, as this program writes addresses; null where there is none. */
export function peerOf({ kind, flow, peer }: Pick<Anomaly, 'kind' | 'flow' | 'peer'>): string | null {
  if (endsByItself(kind)) return null;
  if (flow === null) return peer ?? null;
  return endOf(flow, isOutbound(kind) ? 'destination' : 'source');
}

/** The address of one end of a flow, as this program writes addresses. */
export function endOf(flow: NonNullable<Anomaly['flow']>, end: 'source' | 'destination'): string {
  const text = flow[end].ip;
  // In IPv6 packets `::ffff:10.0.0.1` is not 10.0.0.1; elsewhere it is only another way to write it.
  const isOfIpv6 = text.includes(':') && flow.network.type === 'ipv6';
  const address = isOfIpv6 ? parseFlowAddress(text) : parseAddress(text);
  return address === undefined ? text : formatAddress(address);
}
