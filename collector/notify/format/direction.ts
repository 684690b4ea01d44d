/** Who called whom in a story. */
import type { AnomalyKind } from '../../../common/event.ts';

/** Whether the stranger is the one that was called: a node opened the connection to it. */
export function isOutbound(kind: AnomalyKind): boolean {
  return kind === 'unexpected-destination';
}
