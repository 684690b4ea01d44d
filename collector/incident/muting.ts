/**
 * Why an incident is told to nobody at the moment. It is stored and shown all the same, and told when nothing mutes it any
 * more and it is not resolved.
 */
import type { Incident } from '../store/store.ts';

/** The reason in a few words (`silence SIL-3`), or undefined where nothing mutes the incident. */
export type MutedBy = (incident: Incident, nowMs: number) => string | undefined;

/** The first reason that there is. */
export function firstReason(reasons: readonly MutedBy[]): MutedBy {
  return (incident, nowMs) => {
    for (const mutedBy of reasons) {
      const reason = mutedBy(incident, nowMs);
      if (reason !== undefined) return reason;
    }
    return undefined;
  };
}
