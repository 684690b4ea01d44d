/** What a reader may copy into the rules to approve of a member. */
import { formatAddress, type Address } from '../../common/address.ts';

/** A group that YAML reads back as this word. Anything else that a view or a pod's label says is not for copying. */
const PLAIN_GROUP = /^(?!(?:true|false|null|yes|no|on|off)$)[a-z](?:[a-z0-9._-]{0,61}[a-z0-9])?$/i;

/** The entries under `approved:`: the group of nodes that a source vouches for, or else the address. */
export function approvalHint(address: Address, group: string | undefined): string {
  return group !== undefined && PLAIN_GROUP.test(group)
    ? `nodeGroups: [${group}]`
    : `hosts: [${formatAddress(address)}]`;
}
