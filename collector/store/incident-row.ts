/** How an incident stands in its table: a number and JSON. */
import type { Incident, NewIncident } from './store.ts';

export interface IncidentRow {
  readonly number: number;
  readonly incident: string;
}

export function incidentId(number: number): string {
  return `INC-${number}`;
}

/** 0, which no incident has, for a text that is no id. */
export function incidentNumber(id: string): number {
  const digits = /^INC-([1-9]\d{0,14})$/.exec(id)?.[1];
  return digits === undefined ? 0 : Number(digits);
}

export function toIncident({ number, incident }: IncidentRow): Incident {
  return { ...(JSON.parse(incident) as NewIncident), id: incidentId(number) };
}
