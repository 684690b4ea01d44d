/** What an unexpected connection is called, and why it is one, in a sentence for a person. */
import type { AnomalyKind, FlowRecord, Verdict } from '../../common/event.ts';
import { formatMilliseconds, shortTime } from '../../common/time.ts';
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
}

/**
 * A push to an address outside the cluster is an unexpected destination; everybody else who comes is an unexpected
 * peer, or a former member where the verdict says so.
 */
export function kindOf({ verdict, toMember, fromMember }: Judged): AnomalyKind {
  if (verdict.reason === 'former-member') return 'former-member';
  return fromMember && !toMember ? 'unexpected-destination' : 'unexpected-peer';
}

/** Who talks to which service of whom, and why that is unexpected. */
export function sentenceOf({ source, destination }: FlowRecord, service: string, judged: Judged): string {
  const because = reasonOf(judged);
  const kind = kindOf(judged);
  if (kind === 'unexpected-destination') {
    return `Member ${source.ip} connects to ${service} port ${destination.port} of ${destination.ip}, which is no member (${because})`;
  }
  const who = kind === 'former-member' ? 'Former member' : 'Unexpected peer';
  return `${who} ${source.ip} talks to ${service} port ${destination.port} of ${destination.ip} (${because})`;
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
