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
  /** Who listed one of the two as a member, where the verdict is that nobody approved of it. */
  readonly admission?: Admission | undefined;
  /** What else is known of the initiator, for people: that it may be a second address of a member. */
  readonly hint?: string | undefined;
}

/**
 * A push to an address outside the cluster is an unexpected destination; everybody else who comes is an unexpected
 * peer, or a former member where the verdict says so.
 */
export function kindOf({ verdict, toMember, fromMember }: Judged): AnomalyKind {
  if (verdict.reason === 'former-member') return 'former-member';
  return fromMember && !toMember ? 'unexpected-destination' : 'unexpected-peer';
}

/** Who talks to which service of whom, or tried to, and why that is unexpected. */
export function sentenceOf(record: FlowRecord, service: string, judged: Judged, standing: Standing): string {
  const { source, destination, plasmawatch } = record;
  const because = reasonOf(judged);
  const kind = kindOf(judged);
  const isAttempt = standing === 'attempt';
  const what = `${service} port ${destination.port} of ${destination.ip}`;
  const outcome = isAttempt ? `, ${outcomeOf(plasmawatch)}` : '';
  if (kind === 'unexpected-destination') {
    const does = isAttempt ? 'tried to connect to' : 'connects to';
    return `Member ${source.ip} ${does} ${what}, which is no member${outcome} (${because})`;
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
