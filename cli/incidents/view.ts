/** Incidents as lines for people. */
import { plainText } from '../../common/plain-text.ts';
import { formatSize } from '../../common/units.ts';
import type { TimeFormat } from '../age.ts';
import type { Terminal } from '../command.ts';
import { countedConnections, writeLine } from '../output.ts';
import { hasColour, paint, styleOf } from '../style.ts';
import { writeTable, type Column } from '../table.ts';
import { wrapped } from '../wrap.ts';
import {
  stateOf,
  type EvidenceAnswer,
  type IncidentAnswer,
  type IncidentDetails,
  type MemberAnswer,
} from './answers.ts';

/** How the caller wants it. */
interface ViewOptions {
  readonly wide: boolean;
  readonly timeOf: TimeFormat;
}

const COLUMNS: readonly Column[] = [
  { name: 'incident' },
  { name: 'severity', style: styleOf },
  { name: 'state', style: styleOf },
  { name: 'last seen', dropOrder: 1 },
  { name: 'what', isElastic: true },
];

/** A line for each incident, below a headline. */
export function writeIncidentTable(
  terminal: Terminal,
  incidents: readonly IncidentAnswer[],
  { wide, timeOf }: ViewOptions,
): void {
  const rows = incidents.map((incident) => {
    const { id, severity, last, title } = incident;
    return [id, severity, stateOf(incident), timeOf(last), title];
  });
  writeTable(terminal, COLUMNS, rows, { wide });
}

interface DetailOptions extends ViewOptions {
  /** Every delivery on a line of its own. */
  readonly deliveries: boolean;
  /** Undefined where the caller may not see it, or the collector did not say. */
  readonly evidence: EvidenceAnswer | undefined;
}

/** One incident: who did what to whom, what is known of it, what happened when, and what to type next. */
export function writeIncident(terminal: Terminal, details: IncidentDetails, options: DetailOptions): void {
  const { incident, anomalies } = details;
  const columns = options.wide ? undefined : terminal.columns;
  const heading = `${incident.id}  ${incident.severity}  ${stateOf(incident)}`;
  terminal.stdout.write(
    `${hasColour(terminal) ? paint(plainText(heading), styleOf(incident.severity)) : plainText(heading)}\n`,
  );
  writeLines(terminal, wrapped('', incident.title, columns));
  writeLine(terminal, '');
  for (const [name, value] of factsOf(details, options))
    writeLines(terminal, wrapped(name.padEnd(FACT_WIDTH), value, columns));
  if (anomalies.length > 1) {
    writeLine(terminal, '');
    writeMembers(terminal, anomalies, options);
  }
  writeLine(terminal, '');
  for (const { time, what } of timelineOf(details))
    writeLines(terminal, wrapped(`${options.timeOf(time).padEnd(FACT_WIDTH - 2)}  `, what, columns));
  const deliveries = options.deliveries ? deliveryLines(details, options) : foldedDeliveries(details);
  if (deliveries.length > 0) writeLine(terminal, '');
  for (const line of deliveries) writeLines(terminal, wrapped(...line, columns));
  const next = nextCommand(details);
  if (next !== undefined) {
    writeLine(terminal, '');
    writeLine(terminal, `Next: ${next}`);
  }
}

function writeLines(terminal: Terminal, lines: readonly string[]): void {
  for (const line of lines) writeLine(terminal, line);
}

const FACT_WIDTH = 14;

/** What stands before a text, and the text. */
type Labelled = [label: string, text: string];

/** What is known, each with its name; what is not known is said where it matters. */
function factsOf(
  { incident, anomalies: [member] }: IncidentDetails,
  { timeOf, evidence }: DetailOptions,
): [name: string, value: string][] {
  const { message, nodes, nodeCount, bytes, count } = incident;
  const flow = member?.anomaly.flow ?? undefined;
  const who = flow === undefined ? member?.anomaly.peer : endpointOf(flow.source);
  const others = nodeCount - nodes.length;
  return [
    ...(who === undefined ? [] : [['who', who] as [string, string]]),
    ['what', incident.kind],
    ...(flow === undefined
      ? []
      : ([
          [
            'to whom',
            [endpointOf(flow.destination), flow.plasmawatch.service]
              .filter((part) => part !== null)
              .join(', '),
          ],
          ['connection', flow.plasmawatch.state],
        ] as [string, string][])),
    ...(flow === undefined || member === undefined
      ? []
      : ([['process', processOf(member)]] as [string, string][])),
    ...ruleOf(member),
    ['traffic', `${countedConnections(count)}, ${formatSize(bytes)}`],
    ['seen', spanOf(timeOf(incident.first), timeOf(incident.last))],
    ['seen by', `${nodes.join(', ')}${others > 0 ? ` and ${others} more` : ''}`],
    ['message', message],
    ['evidence', evidenceOf(incident, evidence)],
  ];
}

function spanOf(first: string, last: string): string {
  return first === last ? first : `${first} to ${last}`;
}

function ruleOf(member: MemberAnswer | undefined): [name: string, value: string][] {
  const verdict = member?.anomaly.verdict ?? undefined;
  if (verdict === undefined) return [];
  return [
    [
      'rule',
      verdict.rule === null ? `none allows it (${verdict.reason})` : `${verdict.rule} (${verdict.reason})`,
    ],
  ];
}

function processOf({ anomaly: { process, user, orchestrator } }: MemberAnswer): string {
  const owner = user === undefined ? undefined : `user ${user.name ?? user.id}`;
  const pod = orchestrator === undefined ? undefined : `pod ${orchestrator.resource.id}`;
  const program = process === undefined ? undefined : `${process.name} (pid ${process.pid})`;
  const known = [program, owner, pod].filter((part) => part !== undefined);
  return known.length === 0 ? "not known: this node's end was not looked up, or is gone" : known.join(', ');
}

function evidenceOf({ id }: IncidentAnswer, evidence: EvidenceAnswer | undefined): string {
  if (evidence === undefined) return 'not shown: this token may not see packets';
  if (evidence.length === 0) return 'none';
  const packets = evidence.reduce((sum, each) => sum + each.packets, 0);
  return `${packets} packet${packets === 1 ? '' : 's'}: plasmawatch incidents evidence ${id} -o ${id}.pcapng`;
}

function endpointOf({ ip, port }: { readonly ip: string; readonly port: number }): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}

const MEMBER_COLUMNS: readonly Column[] = [
  { name: 'severity', style: styleOf },
  { name: 'data' },
  { name: 'connections', isNumber: true, dropOrder: 4 },
  { name: 'from' },
  { name: 'to', isElastic: true },
  { name: 'service', dropOrder: 3 },
  { name: 'state', dropOrder: 2 },
  { name: 'reported by', dropOrder: 1, isElastic: true },
  { name: 'last seen', dropOrder: 5 },
];

/** A line for each member below a headline, in the order of the API: the most severe first. */
function writeMembers(
  terminal: Terminal,
  members: readonly MemberAnswer[],
  { wide, timeOf }: ViewOptions,
): void {
  const rows = members.map(({ agent, severity, anomaly }) => {
    const { flow, peer = '', bytes } = anomaly;
    return [
      severity,
      formatSize(bytes),
      String(anomaly.count),
      flow?.source.ip ?? peer,
      flow?.destination.ip ?? '',
      flow?.plasmawatch.service ?? '',
      flow?.plasmawatch.state ?? anomaly.kind,
      agent,
      timeOf(anomaly.last),
    ];
  });
  writeTable(terminal, MEMBER_COLUMNS, rows, { wide });
}

interface Moment {
  /** RFC 3339 in UTC, nanoseconds: such texts sort as their times do. */
  readonly time: string;
  readonly what: string;
}

function timelineOf({ incident, actions }: IncidentDetails): Moment[] {
  const { first, last, opened, reopened, acknowledged, resolved, resolvedBy } = incident;
  const done = actions.flatMap(({ time, action, actor, details }): Moment[] => {
    const verb = VERBS[action];
    if (time === undefined || verb === undefined) return [];
    const comment = details?.comment === undefined ? '' : `: "${details.comment}"`;
    return [{ time, what: `${verb} by ${actor}${comment}` }];
  });
  const isDone = (verb: string) => done.some(({ what }) => what.startsWith(verb));
  const moments: Moment[] = [
    { time: first, what: 'first seen' },
    { time: last, what: 'last seen' },
    { time: opened, what: 'opened' },
    ...(reopened === null ? [] : [{ time: reopened, what: 'reopened' }]),
    ...(acknowledged === null || isDone('acknowledged')
      ? []
      : [{ time: acknowledged, what: 'acknowledged' }]),
    ...(resolved === null || (isDone('resolved') && resolvedBy !== null)
      ? []
      : [{ time: resolved, what: resolvedBy === null ? 'resolved: quiet' : `resolved by ${resolvedBy}` }]),
    ...done,
  ];
  return moments.toSorted((a, b) => (a.time < b.time ? -1 : Number(a.time > b.time)));
}

const VERBS: Readonly<Record<string, string>> = {
  'incident.acknowledge': 'acknowledged',
  'incident.resolve': 'resolved',
};

/** A line for each receiver: what it was notified of, and what it did not get. */
function foldedDeliveries({ notifications }: IncidentDetails): Labelled[] {
  const receivers = [...new Set(notifications.map(({ receiver }) => receiver))];
  const width = Math.max(0, ...receivers.map((name) => name.length));
  return receivers.map((name) => {
    const own = notifications
      .filter(({ receiver }) => receiver === name)
      .toSorted((a, b) => (a.created < b.created ? -1 : Number(a.created > b.created)));
    const delivered = own.filter(({ state }) => state === 'delivered').map(({ type }) => type);
    const others = own.filter(({ state }) => state !== 'delivered');
    const parts = [
      ...(delivered.length === 0 ? [] : [`delivered: ${delivered.join(', ')}`]),
      ...others.map(({ type, state, reason }) => `${type} ${state}${reason === null ? '' : ` (${reason})`}`),
    ];
    return [`${'notified'.padEnd(FACT_WIDTH)}${name.padEnd(width)}  `, parts.join('; ')];
  });
}

function deliveryLines({ notifications }: IncidentDetails, { timeOf }: ViewOptions): Labelled[] {
  return notifications
    .toSorted((a, b) => (a.created < b.created ? -1 : Number(a.created > b.created)))
    .map(({ created, receiver, type, state, attempts, reason }) => {
      const tries = attempts > 1 ? ` after ${attempts} attempts` : '';
      const why = reason === null ? '' : `: ${reason}`;
      const what = `"${type}" to ${receiver}: ${state}${tries}${why}`;
      return [`${timeOf(created).padEnd(FACT_WIDTH - 2)}  `, what];
    });
}

/** What most people type next. */
function nextCommand({ incident: { id, state, mergedInto } }: IncidentDetails): string | undefined {
  if (mergedInto !== null) return `plasmawatch incidents show ${mergedInto}`;
  if (state === 'open') return `plasmawatch incidents ack ${id} --comment 'on it'`;
  if (state === 'acknowledged') return `plasmawatch incidents resolve ${id}`;
  return undefined;
}
