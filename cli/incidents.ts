/** `plasmawatch incidents`: what the collector knows, and looking after it. */
import type { ArgumentsCamelCase, Argv } from 'yargs';
import { INCIDENT_STATES } from '../collector/store/store.ts';
import { PlasmawatchError } from '../common/errors.ts';
import { ANOMALY_KINDS, SEVERITIES, type AnomalyKind, type Severity } from '../common/event.ts';
import { askOptions, CollectorClient, type AskCommandOptions } from './collector-client.ts';
import type { Command, ExitStatus, Terminal } from './command.ts';
import {
  describeIncident,
  incidentAnswer,
  incidentDetails,
  incidentPage,
  incidentTable,
  type IncidentDetails,
} from './incident-view.ts';
import { writeJson, writeLine, writeProblem } from './output.ts';

const STATES = ['unresolved', ...INCIDENT_STATES, 'all'] as const;
/** As many as the API gives at once. */
const MAX_LISTED = 500;

interface ListOptions extends AskCommandOptions {
  readonly state: (typeof STATES)[number];
  readonly severity: Severity | undefined;
  readonly kind: AnomalyKind | undefined;
  readonly limit: number;
}

interface OneOptions extends AskCommandOptions {
  readonly id: string;
}

interface ShowOptions extends OneOptions {
  readonly members: number;
}

export const incidentsListCommand: Command<ListOptions> = {
  usage: '$0',
  description: 'list incidents, newest first; exit status 1 where one is not resolved',
  options: (yargs) =>
    yargs
      .option('state', {
        choices: STATES,
        default: 'unresolved' as const,
        requiresArg: true,
        description: 'in this state only',
      })
      .option('severity', { choices: SEVERITIES, requiresArg: true, description: 'of this severity only' })
      .option('kind', { choices: ANOMALY_KINDS, requiresArg: true, description: 'of this kind only' })
      .option('limit', {
        type: 'number',
        default: 50,
        requiresArg: true,
        description: `so many at most, up to ${MAX_LISTED}`,
      })
      .options(askOptions),
  run: listIncidents,
};

export const incidentsShowCommand: Command<ShowOptions> = {
  usage: 'show <id>',
  description: 'show an incident with its members and timeline; exit status 1 where it is not resolved',
  options: (yargs) =>
    oneIncident(yargs).option('members', {
      type: 'number',
      default: 20,
      requiresArg: true,
      description: 'number of members to show, the most severe first; 0 for all',
    }),
  run: showIncident,
};

export const incidentsAcknowledgeCommand: Command<OneOptions> = {
  usage: 'ack <id>',
  description: 'say that a person looks after it: it is not repeated any more',
  options: oneIncident,
  run: async (options, terminal) => await act(options, 'acknowledge', terminal),
};

export const incidentsResolveCommand: Command<OneOptions> = {
  usage: 'resolve <id>',
  description: 'say that it is over; if it goes on, it is told again',
  options: oneIncident,
  run: async (options, terminal) => await act(options, 'resolve', terminal),
};

function oneIncident(yargs: Argv): Argv<OneOptions> {
  return yargs
    .positional('id', { type: 'string', demandOption: true, description: 'such as INC-12' })
    .options(askOptions);
}

async function listIncidents(
  options: ArgumentsCamelCase<ListOptions>,
  terminal: Terminal,
): Promise<ExitStatus> {
  const { state, severity, kind, limit, json } = options;
  const client = await CollectorClient.create(options, terminal);
  const query = new URLSearchParams({
    limit: String(limit),
    ...(state === 'all' ? {} : { state }),
    ...(severity === undefined ? {} : { severity }),
    ...(kind === undefined ? {} : { kind }),
  });
  const { incidents, nextCursor } = await client.get(`/api/incidents?${query.toString()}`, incidentPage);
  if (json) for (const incident of incidents) writeJson(terminal, incident);
  else if (incidents.length === 0) writeLine(terminal, 'no such incidents');
  else for (const line of incidentTable(incidents)) writeLine(terminal, line);
  if (nextCursor !== null) writeProblem(terminal, `there are more than these ${limit}: see --limit`);
  return incidents.every((incident) => incident.state === 'resolved') ? 0 : 1;
}

async function showIncident(
  options: ArgumentsCamelCase<ShowOptions>,
  terminal: Terminal,
): Promise<ExitStatus> {
  const { id, members, json } = options;
  if (!Number.isSafeInteger(members) || members < 0) {
    throw new PlasmawatchError('PW_USAGE', '--members: expected a whole number, or 0 for all members');
  }
  const client = await CollectorClient.create(options, terminal);
  const details = await readDetails(client, id, members === 0 ? Infinity : members);
  const { incident, ...rest } = details;
  if (json) writeJson(terminal, { ...incident, ...rest });
  else for (const line of describeIncident(details)) writeLine(terminal, line);
  if (details.nextCursor !== null) {
    writeProblem(terminal, `there are more members than these ${details.anomalies.length}: see --members`);
  }
  return incident.state === 'resolved' ? 0 : 1;
}

/** An incident with so many of its members at most, read page by page. */
async function readDetails(client: CollectorClient, id: string, wanted: number): Promise<IncidentDetails> {
  const page = async (have: number, cursor: string | null): Promise<IncidentDetails> => {
    const query = new URLSearchParams({
      limit: String(Math.min(wanted - have, MAX_LISTED)),
      ...(cursor === null ? {} : { cursor }),
    });
    return await client.get(`${pathOf(id)}?${query.toString()}`, incidentDetails);
  };
  const first = await page(0, null);
  const anomalies = [...first.anomalies];
  let { nextCursor } = first;
  while (nextCursor !== null && anomalies.length < wanted) {
    const next = await page(anomalies.length, nextCursor);
    anomalies.push(...next.anomalies);
    ({ nextCursor } = next);
  }
  return { ...first, anomalies: eachOnce(anomalies), nextCursor };
}

/** Members that changed while they were read come twice: as they are last, in the place that they have then. */
function eachOnce(anomalies: IncidentDetails['anomalies']): IncidentDetails['anomalies'] {
  const byId = new Map<string, IncidentDetails['anomalies'][number]>();
  for (const member of anomalies) byId.set(`${member.agent} ${member.anomaly.id}`, member);
  if (byId.size === anomalies.length) return anomalies;
  return [...byId.values()].toSorted((a, b) => rankOf(b) - rankOf(a) || b.anomaly.bytes - a.anomaly.bytes);
}

function rankOf({ severity }: IncidentDetails['anomalies'][number]): number {
  return (SEVERITIES as readonly string[]).indexOf(severity);
}

async function act(
  options: ArgumentsCamelCase<OneOptions>,
  verb: 'acknowledge' | 'resolve',
  terminal: Terminal,
): Promise<ExitStatus> {
  const client = await CollectorClient.create(options, terminal);
  const { incident } = await client.post(`${pathOf(options.id)}/${verb}`, incidentAnswer);
  if (options.json) writeJson(terminal, incident);
  else writeLine(terminal, `${incident.id} is ${incident.state}: ${incident.title}`);
  return 0;
}

function pathOf(id: string): string {
  return `/api/incidents/${encodeURIComponent(id)}`;
}
