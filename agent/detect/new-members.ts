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

/** Reports each of the members that have joined, at the time at which their source told of them. */
export function reportNewMembers(
  joined: readonly Member[],
  membership: Pick<Membership, 'isUnapproved'>,
  reporting: Reporting,
  nowMs: number,
): void {
  const { node, report, createId } = reporting;
  for (let begin = MAX_REPORTED; begin < joined.length; begin += MAX_NAMED)
    reportTogether(joined.slice(begin, begin + MAX_NAMED), reporting, nowMs);
  for (const { id, addresses, source } of joined.slice(0, MAX_REPORTED)) {
    const peer = addresses[0] === undefined ? undefined : formatAddress(addresses[0]);
    const where = peer === undefined ? '' : ` at ${peer}`;
    const isUnapproved = addresses.some((address) => membership.isUnapproved(address, nowMs));
    const but = isUnapproved ? '; no rule approves of it' : '';
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
        message: `New member ${id}${where}, told by ${source}${but}`.slice(0, 1024),
      }),
    );
  }
}

/** Nobody is left out, so that who joins among thousands is named all the same. */
function reportTogether(
  joined: readonly Member[],
  { node, report, createId }: Reporting,
  nowMs: number,
): void {
  const addresses = joined.flatMap(({ addresses }) => addresses.slice(0, 1).map(formatAddress));
  const time = formatMilliseconds(nowMs);
  report(
    anomalyWithoutFlow({
      id: createId(),
      kind: 'new-member',
      severity: 'info',
      node,
      first: time,
      last: time,
      message:
        `${joined.length} of many new members at ${addresses.join(' ')}, told by ${joined[0]?.source}`.slice(
          0,
          1024,
        ),
    }),
  );
}
