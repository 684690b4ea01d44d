/** `plasmawatch silences`: incidents that nobody is notified of for a while. */
import type { ArgumentsCamelCase } from 'yargs';
import { z } from 'zod';
import { ANOMALY_KINDS, SEVERITIES, type AnomalyKind, type Severity } from '../common/event.ts';
import { PlasmawatchError } from '../common/errors.ts';
import { shortTime } from '../common/time.ts';
import { timeFormat, type TimeFormat } from './age.ts';
import { askOptions, CollectorClient, text, type AskCommandOptions } from './collector-client.ts';
import type { Command, ExitStatus, Terminal } from './command.ts';
import { writeJson, writeLine } from './output.ts';
import { styleOf } from './style.ts';
import { tableOptions, writeTable, type Column } from './table.ts';

interface AddOptions extends AskCommandOptions {
  readonly kind: AnomalyKind[] | undefined;
  readonly severity: Severity[] | undefined;
  readonly peer: string[] | undefined;
  readonly service: string[] | undefined;
  readonly node: string[] | undefined;
  readonly reason: string;
  readonly for: string | undefined;
  readonly until: string | undefined;
  readonly from: string | undefined;
}

interface ListOptions extends AskCommandOptions {
  readonly ended: boolean;
  readonly wide: boolean;
}

interface EndOptions extends AskCommandOptions {
  readonly id: string;
}

const silenceSchema = z.looseObject({
  id: text,
  state: text,
  matchers: z.record(z.string(), z.array(text)),
  author: text,
  reason: text,
  start: text,
  end: text,
});
type SilenceAnswer = z.output<typeof silenceSchema>;

const silenceAnswer = z.looseObject({ silence: silenceSchema });
const silencePage = z.looseObject({ silences: z.array(silenceSchema) });

export const silenceAddCommand: Command<AddOptions> = {
  usage: 'add',
  description: 'notify nobody of some incidents for a while; several values of a flag are alternatives',
  options: (yargs) =>
    yargs
      .option('kind', {
        choices: ANOMALY_KINDS,
        array: true,
        requiresArg: true,
        description: 'incidents of this kind',
      })
      .option('severity', {
        choices: SEVERITIES,
        array: true,
        requiresArg: true,
        description: 'of this severity',
      })
      .option('peer', {
        type: 'string',
        array: true,
        requiresArg: true,
        description: 'whose peer is in this range: 10.20.0.0/16',
      })
      .option('service', {
        type: 'string',
        array: true,
        requiresArg: true,
        description: 'about this service: object-manager',
      })
      .option('node', {
        type: 'string',
        array: true,
        requiresArg: true,
        description: 'about this node and no other; * stands for any text: gpu-*',
      })
      .option('reason', {
        type: 'string',
        demandOption: true,
        requiresArg: true,
        description: 'why, for whoever wonders',
      })
      .option('for', { type: 'string', requiresArg: true, description: 'how long: 2h, at most 90d' })
      .option('until', {
        type: 'string',
        requiresArg: true,
        description: 'or until when: 2027-03-01T12:00:00Z',
      })
      .option('from', { type: 'string', requiresArg: true, description: 'from when on; now when left out' })
      .options(askOptions),
  run: addSilence,
};

export const silenceListCommand: Command<ListOptions> = {
  usage: ['list', '$0'],
  description: 'list the silences that have not ended',
  options: (yargs) =>
    yargs
      .option('ended', {
        type: 'boolean',
        default: false,
        description: 'list those that have ended, the last first',
      })
      .options({ ...tableOptions, ...askOptions }),
  run: listSilences,
};

export const silenceEndCommand: Command<EndOptions> = {
  usage: 'end <id>',
  description: 'end a silence before its time: notifications that it held back are sent',
  options: (yargs) =>
    yargs
      .positional('id', { type: 'string', demandOption: true, description: 'such as SIL-3' })
      .options(askOptions),
  run: endSilence,
};

async function addSilence(options: ArgumentsCamelCase<AddOptions>, terminal: Terminal): Promise<ExitStatus> {
  const { kind, severity, peer, service, node, reason, json } = options;
  if ((options.for === undefined) === (options.until === undefined)) {
    throw new PlasmawatchError('PW_USAGE', 'expected either --for 2h or --until 2027-03-01T12:00:00Z');
  }
  const client = await CollectorClient.create(options, terminal);
  const { silence } = await client.post('/api/silences', silenceAnswer, {
    matchers: { kind, severity, peer, service, node },
    reason,
    start: options.from,
    end: options.until,
    duration: options.for,
  });
  if (json) writeJson(terminal, silence);
  else
    writeLine(
      terminal,
      `${silence.id} is ${silence.state} until ${shortTime(silence.end)}: ${aboutWhat(silence)}`,
    );
  return 0;
}

async function listSilences(
  options: ArgumentsCamelCase<ListOptions>,
  terminal: Terminal,
): Promise<ExitStatus> {
  const client = await CollectorClient.create(options, terminal);
  const { ended, wide } = options;
  const state = ended ? 'ended' : 'current';
  const { silences } = await client.get(`/api/silences?state=${state}`, silencePage);
  if (options.json) for (const silence of silences) writeJson(terminal, silence);
  else if (silences.length === 0) writeLine(terminal, ended ? 'No silences have ended.' : 'No silences.');
  else {
    const timeOf = timeFormat(terminal, { wide, nowMs: client.nowMs });
    writeTable(terminal, COLUMNS, rowsOf(silences, timeOf), { wide });
  }
  return 0;
}

async function endSilence(options: ArgumentsCamelCase<EndOptions>, terminal: Terminal): Promise<ExitStatus> {
  const client = await CollectorClient.create(options, terminal);
  const path = `/api/silences/${encodeURIComponent(options.id)}`;
  const { silence } = await client.delete(path, silenceAnswer);
  if (options.json) writeJson(terminal, silence);
  else writeLine(terminal, `${silence.id} has ended: ${aboutWhat(silence)}`);
  return 0;
}

const COLUMNS: readonly Column[] = [
  { name: 'silence' },
  { name: 'state', style: styleOf },
  { name: 'from', dropOrder: 3 },
  { name: 'until' },
  { name: 'by', dropOrder: 2 },
  { name: 'about', isElastic: true },
  { name: 'reason', isElastic: true, dropOrder: 1 },
];

function rowsOf(silences: readonly SilenceAnswer[], timeOf: TimeFormat): string[][] {
  return silences.map((silence) => [
    silence.id,
    silence.state,
    timeOf(silence.start),
    timeOf(silence.end),
    silence.author,
    aboutWhat(silence),
    silence.reason,
  ]);
}

/** `kind scan, peer 10.20.0.0/16 or 10.21.0.0/16` */
function aboutWhat({ matchers }: SilenceAnswer): string {
  return Object.entries(matchers)
    .map(([name, values]) => `${name} ${values.join(' or ')}`)
    .join(', ');
}
