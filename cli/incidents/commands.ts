/** `plasmawatch incidents`: what the collector knows, and what people do about it. */
import type { ArgumentsCamelCase, Argv } from 'yargs';
import { INCIDENT_STATES } from '../../collector/store/store.ts';
import { PlasmawatchError } from '../../common/errors.ts';
import { ANOMALY_KINDS, SEVERITIES, type AnomalyKind, type Severity } from '../../common/event.ts';
import { timeFormat } from '../age.ts';
import { askOptions, CollectorClient, type AskCommandOptions } from '../collector-client.ts';
import type { Command, ExitStatus, Terminal } from '../command.ts';
import { writeJson, writeLine, writeProblem } from '../output.ts';
import { tableOptions } from '../table.ts';
import { wholeNumber } from '../whole-number.ts';
import {
  evidenceAnswer,
  incidentAnswer,
  incidentDetails,
  incidentPage,
  pathOf,
  type EvidenceAnswer,
  type IncidentDetails,
} from './answers.ts';
import { writeEvidence } from './evidence.ts';
import { writeIncident, writeIncidentTable } from './view.ts';
import { watchIncidents } from './watch.ts';

const STATES = ['unresolved', ...INCIDENT_STATES, 'all'] as const;
/** As many as the API gives at once. */
const MAX_LISTED = 500;

interface ListOptions extends AskCommandOptions {
  readonly state: (typeof STATES)[number];
  readonly severity: Severity | undefined;
  readonly kind: AnomalyKind | undefined;
  readonly limit: number;
  readonly wide: boolean;
  readonly watch: boolean;
}

interface OneOptions extends AskCommandOptions {
  readonly id: string;
}

interface ShowOptions extends OneOptions {
  readonly members: number;
  readonly deliveries: boolean;
  readonly wide: boolean;
}

interface EvidenceOptions extends OneOptions {
  readonly output: string;
}

interface ActOptions extends OneOptions {
  readonly comment: string | undefined;
}

export const incidentsListCommand: Command<ListOptions> = {
  usage: ['list', '$0'],
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
        description: `number of incidents at most, up to ${MAX_LISTED}`,
      })
      .option('watch', {
        type: 'boolean',
        default: false,
        description: 'follow them: a line for each change, until Ctrl-C',
      })
      .options({ ...tableOptions, ...askOptions }),
  run: listIncidents,
};

export const incidentsShowCommand: Command<ShowOptions> = {
  usage: 'show <id>',
  description: 'show who did what to whom, and what happened since; exit status 1 where it is not resolved',
  options: (yargs) =>
    oneIncident(yargs)
      .option('members', {
        type: 'number',
        default: 20,
        requiresArg: true,
        description: 'number of members to show, the most severe first; 0 for all',
      })
      .option('deliveries', {
        type: 'boolean',
        default: false,
        description: 'a line for each notification, not one for each receiver',
      })
      .options(tableOptions),
  run: showIncident,
};

export const incidentsEvidenceCommand: Command<EvidenceOptions> = {
  usage: 'evidence <id>',
  description: 'save the packets of an incident as a pcapng file (needs the role responder)',
  options: (yargs) =>
    oneIncident(yargs).option('output', {
      alias: 'o',
      type: 'string',
      demandOption: true,
      requiresArg: true,
      description: 'a new file; - for standard output',
    }),
  run: async (options, terminal) => {
    const client = await CollectorClient.create(options, terminal);
    return await writeEvidence(client, options, terminal);
  },
};

export const incidentsAcknowledgeCommand: Command<ActOptions> = {
  usage: ['ack <id>', 'acknowledge <id>'],
  description: 'say that a person works on it: no more reminders',
  options: withComment,
  run: async (options, terminal) => await act(options, 'acknowledge', terminal),
};

export const incidentsResolveCommand: Command<ActOptions> = {
  usage: 'resolve <id>',
  description: 'say that it is over; if it goes on, it is reopened',
  options: withComment,
  run: async (options, terminal) => await act(options, 'resolve', terminal),
};

function oneIncident(yargs: Argv): Argv<OneOptions> {
  return yargs
    .positional('id', { type: 'string', demandOption: true, description: 'such as INC-12' })
    .options(askOptions);
}

function withComment(yargs: Argv): Argv<ActOptions> {
  return oneIncident(yargs).option('comment', {
    type: 'string',
    requiresArg: true,
    description: 'one line of up to 256 characters, kept with it',
  });
}

async function listIncidents(
  options: ArgumentsCamelCase<ListOptions>,
  terminal: Terminal,
): Promise<ExitStatus> {
  const { state, severity, kind, json, wide } = options;
  const limit = wholeNumber('--limit', options.limit, { min: 1, max: MAX_LISTED });
  const client = await CollectorClient.create(options, terminal);
  const query = new URLSearchParams({
    limit: String(options.watch ? MAX_LISTED : limit),
    ...(state === 'all' ? {} : { state }),
    ...(severity === undefined ? {} : { severity }),
    ...(kind === undefined ? {} : { kind }),
  });
  if (options.watch) return await watchIncidents(client, { query, json }, terminal);
  const { incidents, nextCursor } = await client.get(`/api/incidents?${query.toString()}`, incidentPage);
  if (json) for (const incident of incidents) writeJson(terminal, incident);
  else if (incidents.length === 0) writeLine(terminal, noneOf(options));
  else {
    const timeOf = timeFormat(terminal, { wide, nowMs: client.nowMs });
    writeIncidentTable(terminal, incidents, { wide, timeOf });
  }
  if (nextCursor !== null) writeProblem(terminal, `there are more than these ${limit}: see --limit`);
  return incidents.every((incident) => incident.state === 'resolved') ? 0 : 1;
}

/** `No unresolved critical incidents of the kind scan.` */
function noneOf({ state, severity, kind }: ListOptions): string {
  const words = [
    ...(state === 'all' ? [] : [state]),
    ...(severity === undefined ? [] : [severity]),
    'incidents',
  ];
  return `No ${words.join(' ')}${kind === undefined ? '' : ` of the kind ${kind}`}.`;
}

async function showIncident(
  options: ArgumentsCamelCase<ShowOptions>,
  terminal: Terminal,
): Promise<ExitStatus> {
  const { id, json, wide, deliveries } = options;
  const members = wholeNumber('--members', options.members, { min: 0 });
  const client = await CollectorClient.create(options, terminal);
  const details = await readDetails(client, id, members === 0 ? Infinity : members);
  const evidence = await readEvidence(client, id);
  const { incident, ...rest } = details;
  if (json) writeJson(terminal, { ...incident, ...rest, evidence: evidence ?? null });
  else {
    const timeOf = timeFormat(terminal, { wide, nowMs: client.nowMs });
    writeIncident(terminal, details, { wide, deliveries, timeOf, evidence });
  }
  if (details.nextCursor !== null) {
    writeProblem(terminal, `there are more members than these ${details.anomalies.length}: see --members`);
  }
  return incident.state === 'resolved' ? 0 : 1;
}

/** What packets there are of it; undefined for a caller who may not see them, as a viewer. */
async function readEvidence(client: CollectorClient, id: string): Promise<EvidenceAnswer | undefined> {
  try {
    return (await client.get(`${pathOf(id)}/evidence`, evidenceAnswer)).evidence;
  } catch (error) {
    if (error instanceof PlasmawatchError) return undefined;
    throw error;
  }
}

/** An incident with a bounded number of its members, read page by page. */
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
  options: ArgumentsCamelCase<ActOptions>,
  verb: 'acknowledge' | 'resolve',
  terminal: Terminal,
): Promise<ExitStatus> {
  const { id, comment, json } = options;
  const client = await CollectorClient.create(options, terminal);
  const body = comment === undefined ? undefined : { comment };
  const { incident } = await client.post(`${pathOf(id)}/${verb}`, incidentAnswer, body);
  if (json) writeJson(terminal, incident);
  else writeLine(terminal, `${incident.id} is ${incident.state}: ${incident.title}`);
  return 0;
}
