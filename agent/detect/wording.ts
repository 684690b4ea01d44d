/** What an unexpected connection is called, and why it is one, in a sentence for a person. */
import type { AnomalyKind, FlowRecord, Verdict } from '../../common/event.ts';
import { formatMilliseconds, shortTime } from '../../common/time.ts';
import type { Standing } from '../flow/standing.ts';
import type { Admission } from '../membership/membership.ts';
import { approvalHint } from './approval-hint.ts';

/** How a connection was judged that no rule allows. */
export interface Judged {
  readonly verdict: Verdict;
  /** Whether the responder is a member of the cluster. */
  readonly toMember: boolean;
  /** Whether the initiator is a member of the cluster. */
  readonly fromMember: boolean;
  /** Whether the initiator has left the cluster; left out where that is not known, and then it is the end that is no member. */
  readonly fromFormer?: boolean | undefined;
  /** Who listed one of the two as a member, where the verdict is that nobody approved of it. */
  readonly admission?: Admission | undefined;
  /** What else is known of the initiator, for people: that it may be a second address of a member. */
  readonly hint?: string | undefined;
}

/**
 * A connection of a member to an address outside the cluster, former members included, has an unexpected destination;
 * everybody else who comes is an unexpected peer, or a former member where it is the one that has left.
 */
export function kindOf({ verdict, toMember, fromMember, fromFormer = !fromMember }: Judged): AnomalyKind {
  if (fromMember && !toMember) return 'unexpected-destination';
  return verdict.reason === 'former-member' && fromFormer ? 'former-member' : 'unexpected-peer';
}

/** The end that is unexpected: the one that was called where a member called outside, else the one that calls. */
export function peerOf<End>(
  judged: Judged,
  { initiator, responder }: { readonly initiator: End; readonly responder: End },
): End {
  return kindOf(judged) === 'unexpected-destination' ? responder : initiator;
}

/** Who talks to which service of whom, or tried to, and why that is unexpected. */
export function sentenceOf(record: FlowRecord, service: string, judged: Judged, standing: Standing): string {
  const { source, destination, plasmawatch } = record;
  const because = reasonOf(judged);
  const kind = kindOf(judged);
  const isAttempt = standing === 'attempt';
  const isToFormer = judged.verdict.reason === 'former-member' && kind !== 'former-member';
  const called = `${isToFormer ? 'former member ' : ''}${destination.ip}`;
  const what = `${service} port ${destination.port} of ${called}`;
  const outcome = isAttempt ? `, ${outcomeOf(plasmawatch)}` : '';
  if (kind === 'unexpected-destination') {
    const does = isAttempt ? 'tried to connect to' : 'connects to';
    const which = isToFormer ? '' : ', which is no member';
    return `Member ${source.ip} ${does} ${what}${which}${outcome} (${because})`;
  }
  const who = kind === 'former-member' ? 'Former member' : 'Unexpected peer';
  const does = isAttempt ? 'tried to connect to' : 'talks to';
  const hint = judged.hint === undefined ? '' : `; it ${judged.hint}`;
  return `${who} ${source.ip} ${does} ${what}${outcome} (${because})${hint}`;
}

/** Why nothing more than an attempt is proven. */
function outcomeOf({ state, tunnel }: FlowRecord['plasmawatch']): string {
  if (state === 'refused') return 'refused';
  return tunnel === undefined ? 'without an answer' : 'in a tunnel that does not end here';
}

const REASON_TEXT: Readonly<Record<Verdict['reason'], string>> = {
  allowed: 'allowed',
  'no-rule': 'no rule allows it',
  expired: 'the rule that allowed it has expired',
  'outside-hours': 'the rule that allows it does not hold at this hour',
  'former-member': 'it has left the cluster',
  'wrong-service': 'rules allow it other services only',
  'not-approved': 'it is listed as a member, and no rule approves of it',
};

function reasonOf({ verdict, admission }: Judged): string {
  if (admission !== undefined) return admissionText(admission);
  return `${REASON_TEXT[verdict.reason]}${verdict.rule === null ? '' : `: ${verdict.rule}`}`;
}

/** Such as "Ray admitted it at 2026-11-23T12:03:12Z, no rule did; …", with what to write where it is a node of ours. */
function admissionText({ address, member, sinceMs }: Admission): string {
  const who = nameOf(member.source);
  const admitted = Number.isFinite(sinceMs)
    ? `${who} admitted it at ${shortTime(formatMilliseconds(sinceMs))}, no rule did`
    : `${who} lists it, no rule does`;
  return `${admitted}; if it is a node of yours, write \`approved: { ${approvalHint(address, member.group)} }\``;
}

/** The name of a source as people write it: `ray, read by w2` is Ray's word all the same. */
function nameOf(source: string): string {
  if (source.startsWith('ray')) return 'Ray';
  return source.startsWith('kubernetes') ? 'Kubernetes' : source;
}
