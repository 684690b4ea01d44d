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

/** Reports each of the members that have joined, at the time at which their source told of them. */
export function reportNewMembers(
  joined: readonly Member[],
  membership: Pick<Membership, 'isUnapproved'>,
  { node, report, createId }: Reporting,
  nowMs: number,
): void {
  for (const { id, addresses, source } of joined) {
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
