/**
 * A node that joined the cluster after the rules were taken over: an event of its own, because whoever runs `ray start`
 * is admitted by Ray at once, and is then allowed what members are allowed.
 */
import { formatAddress } from '../../common/address.ts';
import type { Anomaly } from '../../common/event.ts';
import { formatMilliseconds } from '../../common/time.ts';
import type { Member } from '../membership/provider.ts';

interface NewMembersOptions {
  readonly node: string;
  readonly report: (anomaly: Anomaly) => void;
  readonly createId: () => string;
}

/** Reports each of the members that have joined, at the time at which their source told of them. */
export function reportNewMembers(
  joined: readonly Member[],
  { node, report, createId }: NewMembersOptions,
  nowMs: number,
): void {
  for (const { id, addresses, source } of joined) {
    const peer = addresses[0] === undefined ? undefined : formatAddress(addresses[0]);
    const time = formatMilliseconds(nowMs);
    report({
      type: 'anomaly',
      id: createId(),
      kind: 'new-member',
      severity: 'info',
      node,
      ...(peer === undefined ? {} : { peer }),
      verdict: null,
      flow: null,
      count: 0,
      bytes: 0,
      first: time,
      last: time,
      message: `New member ${id}${peer === undefined ? '' : ` at ${peer}`}, told by ${source}`.slice(0, 1024),
    });
  }
}
