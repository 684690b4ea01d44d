/** What may be said of a connection that failed. */
import { systemCodeOf } from '../../common/errors.ts';

/** The code of the failure only: messages may hold an address or a URL. */
export function connectionFault(error: unknown): string {
  const code = systemCodeOf(error);
  return code !== undefined && /^[A-Z][A-Z0-9_]{0,63}$/.test(code)
    ? `connection failed (${code})`
    : 'connection failed';
}
