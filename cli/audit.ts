/** `plasmawatch audit`: who did what at a collector. */
import type { ArgumentsCamelCase } from 'yargs';
import { z } from 'zod';
import { plainText } from '../common/plain-text.ts';
import { timeFormat } from './age.ts';
import { askOptions, CollectorClient, text, type AskCommandOptions } from './collector-client.ts';
import type { Command, ExitStatus, Terminal } from './command.ts';
import { writeJson, writeLine, writeProblem } from './output.ts';
import { tableOptions, writeTable, type Column } from './table.ts';
import { wholeNumber } from './whole-number.ts';

interface AuditOptions extends AskCommandOptions {
  readonly actor: string | undefined;
  readonly subject: string | undefined;
  readonly limit: number;
  readonly wide: boolean;
}

const auditPage = z.looseObject({
  entries: z.array(
    z.looseObject({
      time: text,
      actor: text,
      action: text,
      subject: text,
      details: z.record(z.string(), z.unknown()),
    }),
  ),
  nextCursor: z.string().nullable(),
});

const COLUMNS: readonly Column[] = [
  { name: 'time' },
  { name: 'who', isElastic: true },
  { name: 'did' },
  { name: 'to', isElastic: true },
  { name: 'details', isElastic: true, dropOrder: 1 },
];

export const auditCommand: Command<AuditOptions> = {
  usage: 'audit',
  description: 'list who did what at a collector, newest first (needs a token of the role admin)',
  options: (yargs) =>
    yargs
      .option('actor', { type: 'string', requiresArg: true, description: 'done by this token only: on-call' })
      .option('subject', { type: 'string', requiresArg: true, description: 'done to this only: INC-12' })
      .option('limit', {
        type: 'number',
        default: 50,
        requiresArg: true,
        description: 'number of entries at most, up to 500',
      })
      .options({ ...tableOptions, ...askOptions }),
  run: listActions,
};

async function listActions(
  options: ArgumentsCamelCase<AuditOptions>,
  terminal: Terminal,
): Promise<ExitStatus> {
  const { actor, subject, json, wide } = options;
  const limit = wholeNumber('--limit', options.limit, { min: 1, max: 500 });
  const client = await CollectorClient.create(options, terminal);
  const query = new URLSearchParams({
    limit: String(limit),
    ...(actor === undefined ? {} : { actor }),
    ...(subject === undefined ? {} : { subject }),
  });
  const { entries, nextCursor } = await client.get(`/api/audit?${query.toString()}`, auditPage);
  const timeOf = timeFormat(terminal, { wide, nowMs: client.nowMs });
  const rows = entries.map(({ time, actor: who, action, subject: to, details }) => [
    timeOf(time),
    who,
    action,
    to,
    Object.keys(details).length === 0 ? '' : plainText(JSON.stringify(details)),
  ]);
  if (json) for (const entry of entries) writeJson(terminal, entry);
  else if (rows.length === 0) writeLine(terminal, 'No such entries.');
  else writeTable(terminal, COLUMNS, rows, { wide });
  if (nextCursor !== null) writeProblem(terminal, `there are more than these ${limit}: see --limit`);
  return 0;
}
