/**
 * How somebody came to be listed as a member whom no rule approves of, in words: the cluster's own word is evidence, and
 * a person decides.
 */
import { formatAddress } from '../../common/address.ts';
import type { Admission } from '../membership/membership.ts';

/** Such as "Ray admitted it at 2026-11-23T12:03:12Z, no rule did; …", with what to write where it is a node of ours. */
export function admissionSentence({ address, member, sinceMs }: Admission): string {
  const who = nameOf(member.source);
  const admitted = Number.isFinite(sinceMs)
    ? `${who} admitted it at ${new Date(sinceMs).toISOString().slice(0, 19)}Z, no rule did`
    : `${who} lists it, no rule does`;
  const approval =
    member.group === undefined ? `hosts: [${formatAddress(address)}]` : `nodeGroups: [${member.group}]`;
  return `${admitted}; if it is a node of yours, write \`approved: { ${approval} }\``;
}

/** The name of a source as people write it: `ray, read by w2` is Ray's word all the same. */
function nameOf(source: string): string {
  if (source.startsWith('ray')) return 'Ray';
  return source.startsWith('kubernetes') ? 'Kubernetes' : source;
}
