/** The order of severities. */
import { SEVERITIES, type Severity } from '../../common/event.ts';

/** Whether a severity is above another. */
export function isWorse(severity: Severity, than: Severity): boolean {
  return SEVERITIES.indexOf(severity) > SEVERITIES.indexOf(than);
}
