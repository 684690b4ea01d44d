/**
 * A node that joined the cluster after the rules were taken over: an event of its own, because whoever runs `ray start`
 * is admitted by Ray at once, and is then allowed what members are allowed.
 */
import { formatAddress } from '../../common/address.ts';
import { anomalyWithoutFlow } from '../../common/event.ts';
import { formatMilliseconds } from '../../common/time.ts';
import type { Membership } from '../membership/membership.ts';
import type { Member } from '../membership/provider.ts';
import type { Reporting } from './reporting.ts';

/** Members of one list that are reported one by one: a cluster grows by a few at a time. Of the rest a report names several. */
const MAX_REPORTED = 64;
/** Addresses in the message of such a report: there is room for as many of IPv6. */
const MAX_NAMED = 20;
/** What the schema of an anomaly takes. */
const MAX_MESSAGE_LENGTH = 1024;

/** Reports each of the members that have joined, at the time at which their source told of them. */
export function reportNewMembers(
  joined: readonly Member[],
  membership: Pick<Membership, 'isUnapproved'>,
  reporting: Reporting,
  nowMs: number,
): void {
  for (let begin = MAX_REPORTED; begin < joined.length; begin += MAX_NAMED) {
    const together = joined.slice(begin, begin + MAX_NAMED);
    // Nobody is left out, so that who joins among thousands is named all the same.
    const addresses = together.flatMap((member) => member.addresses.slice(0, 1).map(formatAddress));
    const message = `${together.length} of many new members at ${addresses.join(' ')}, told by ${together[0]?.source}`;
    reportJoin(reporting, nowMs, message);
  }
  for (const { id, addresses, source } of joined.slice(0, MAX_REPORTED)) {
    const peer = addresses[0] === undefined ? undefined : formatAddress(addresses[0]);
    const where = peer === undefined ? '' : ` at ${peer}`;
    const isUnapproved = addresses.some((address) => membership.isUnapproved(address, nowMs));
    const but = isUnapproved ? '; no rule approves of it' : '';
    reportJoin(reporting, nowMs, `New member ${id}${where}, told by ${source}${but}`, peer);
  }
}

/** @param peer the address of the one member that it is about, where it has one */
function reportJoin(
  { node, report, createId }: Reporting,
  nowMs: number,
  message: string,
  peer?: string,
): void {
  const time = formatMilliseconds(nowMs);
  report(
    anomalyWithoutFlow({
      id: createId(),
      kind: 'new-member',
      severity: 'info',
      node,
      ...(peer === undefined ? {} : { peer }),
      first: time,
      last: time,
      message: message.slice(0, MAX_MESSAGE_LENGTH),
    }),
  );
}
