/** Who is told of which incidents. */
import type { Severity } from '../../common/event.ts';
import type { Incident } from '../store/store.ts';
import { isWorse } from './severity.ts';

/** A receiver, and from which severity on it is told of incidents. */
export interface Audience {
  readonly name: string;
  readonly minimumSeverity: Severity;
}

/** The names of those whom an incident is bad enough for. */
export function audienceOf(audiences: readonly Audience[]): (incident: Incident) => readonly string[] {
  return ({ severity }) =>
    audiences.filter(({ minimumSeverity }) => !isWorse(minimumSeverity, severity)).map(({ name }) => name);
}
