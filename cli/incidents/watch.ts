/** `plasmawatch incidents --watch`: a line for each change of an incident, until the command is stopped. */
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf, PlasmawatchError } from '../../common/errors.ts';
import { shortTime } from '../../common/time.ts';
import { formatSize } from '../../common/units.ts';
import type { CollectorClient } from '../collector-client.ts';
import type { ExitStatus, Terminal } from '../command.ts';
import { countedConnections, writeJson, writeLine, writeProblem } from '../output.ts';
import { incidentDetails, incidentPage, pathOf, stateOf, type IncidentAnswer } from './answers.ts';

const INTERVAL_MS = 2_000;
/** Pages of 500; what is behind is not followed. */
const MAX_PAGES = 10;

interface WatchOptions {
  /** What is asked for, with a limit. */
  readonly query: URLSearchParams;
  readonly json: boolean;
  /** For tests. */
  readonly intervalMs?: number;
}

/**
 * Writes what is there, then each change. A collector that does not answer for a while is a problem that is written once; one that
 * does not answer at first ends the command.
 * @returns 1 when an incident was seen that was not resolved
 */
export async function watchIncidents(
  client: Pick<CollectorClient, 'get'>,
  { query, json, intervalMs = INTERVAL_MS }: WatchOptions,
  terminal: Pick<Terminal, 'stdout' | 'stderr' | 'stopSignal'>,
): Promise<ExitStatus> {
  const { stopSignal } = terminal;
  const shown = new Map<string, string>();
  let hasUnresolved = false;
  let isAway = false;
  const show = (incident: IncidentAnswer): void => {
    const marks = markOf(incident);
    if (shown.get(incident.id) === marks) return;
    shown.set(incident.id, marks);
    hasUnresolved ||= incident.state !== 'resolved';
    if (json) writeJson(terminal, incident);
    else writeLine(terminal, lineOf(incident));
  };
  for (let round = 0; !stopSignal.aborted; round++) {
    try {
      const listed = await readAll(client, query);
      for (const incident of listed.toReversed()) show(incident);
      for (const gone of goneOf(shown, listed)) {
        // It is resolved now, or in another state than the one that is followed.
        show((await client.get(`${pathOf(gone)}?limit=1`, incidentDetails)).incident);
        shown.delete(gone);
      }
      if (isAway) writeProblem(terminal, 'the collector answers again');
      isAway = false;
    } catch (error) {
      if (stopSignal.aborted) break;
      if (round === 0 || !(error instanceof PlasmawatchError)) throw error;
      if (!isAway) writeProblem(terminal, `plasmawatch: ${messageOf(error)} [${error.code}]; trying again`);
      isAway = true;
    }
    await delay(intervalMs, undefined, { signal: stopSignal }).catch(() => {});
  }
  return hasUnresolved ? 1 : 0;
}

async function readAll(
  client: Pick<CollectorClient, 'get'>,
  query: URLSearchParams,
): Promise<IncidentAnswer[]> {
  const incidents: IncidentAnswer[] = [];
  let cursor: string | null = null;
  for (let page = 0; page < MAX_PAGES && (page === 0 || cursor !== null); page++) {
    const asked = new URLSearchParams(query);
    if (cursor !== null) asked.set('cursor', cursor);
    const answer = await client.get(`/api/incidents?${asked.toString()}`, incidentPage);
    incidents.push(...answer.incidents);
    cursor = answer.nextCursor;
  }
  return incidents;
}

function goneOf(shown: ReadonlyMap<string, string>, listed: readonly IncidentAnswer[]): string[] {
  const ids = new Set(listed.map(({ id }) => id));
  return [...shown.keys()].filter((id) => !ids.has(id));
}

/** What counts as a change. */
function markOf({ state, severity, title, count, mutedBy }: IncidentAnswer): string {
  return JSON.stringify([state, severity, title, count, mutedBy]);
}

function lineOf(incident: IncidentAnswer): string {
  const { id, severity, last, title, count, bytes } = incident;
  return `${shortTime(last)}  ${id}  ${severity}  ${stateOf(incident)}  ${title} (${countedConnections(count)}, ${formatSize(bytes)})`;
}
