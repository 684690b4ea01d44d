/** Where a page of an incident's members ended, as text that callers hand back: `2.1000000000.77`. */
import { z } from 'zod';
import type { MemberPosition } from '../store/member-table.ts';

/** Read back from a query. */
export const memberCursor = z
  .string()
  .regex(/^[0-2]\.\d{1,16}\.\d{1,15}$/, 'expected the `nextCursor` of the page before')
  .transform((text): MemberPosition => {
    const [severity = 0, dataBytes = 0, number = 0] = text.split('.').map(Number);
    return { severity, dataBytes, number };
  });

export function writeMemberCursor({ severity, dataBytes, number }: MemberPosition): string {
  return `${severity}.${dataBytes}.${number}`;
}
