/** Where a page of an incident's members ended, as text that callers hand back: `2.1000000000.77.5`, or `moved.5.77`. */
import { z } from 'zod';
import type { MemberPosition, MovedPosition } from '../store/member-table.ts';

const MOVED = 'moved.';

/** Read back from a query. */
export const memberCursor = z
  .string()
  .regex(
    /^([0-2]\.\d{1,16}\.\d{1,15}|moved)\.\d{1,15}(\.\d{1,16})?$/,
    'expected the `nextCursor` of the page before',
  )
  .transform((text): MemberPosition | MovedPosition => {
    if (text.startsWith(MOVED)) {
      const [placed = 0, number = 0] = text.slice(MOVED.length).split('.').map(Number);
      return { placed, number };
    }
    const [severity = 0, dataBytes = 0, number = 0, placed = 0] = text.split('.').map(Number);
    return { severity, dataBytes, number, placed };
  });

export function writeMemberCursor(position: MemberPosition | MovedPosition): string {
  if (!('severity' in position)) return `${MOVED}${position.placed}.${position.number}`;
  const { severity, dataBytes, number, placed } = position;
  return `${severity}.${dataBytes}.${number}.${placed}`;
}
