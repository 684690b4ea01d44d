/** `plasmawatch enrolments`: one-time tokens that no agent has exchanged yet. */
import type { ArgumentsCamelCase } from 'yargs';
import { z } from 'zod';
import { timeFormat } from './age.ts';
import { askOptions, CollectorClient, text, type AskCommandOptions } from './collector-client.ts';
import type { Command, ExitStatus, Terminal } from './command.ts';
import { writeJson, writeLine } from './output.ts';
import { tableOptions, writeTable } from './table.ts';

interface ListOptions extends AskCommandOptions {
  readonly wide: boolean;
}

interface RevokeOptions extends AskCommandOptions {
  readonly name: string;
}

const enrolmentPage = z.looseObject({
  enrolments: z.array(z.looseObject({ agent: text, expires: text })),
});
const revokedAnswer = z.looseObject({ enrolment: z.looseObject({ agent: text }) });

export const enrolmentsListCommand: Command<ListOptions> = {
  usage: ['list', '$0'],
  description: 'list the agents whose one-time token was not exchanged yet (needs the role admin)',
  options: (yargs) => yargs.options({ ...tableOptions, ...askOptions }),
  run: listEnrolments,
};

export const enrolmentsRevokeCommand: Command<RevokeOptions> = {
  usage: 'revoke <name>',
  description: 'take the one-time token of an agent back; a key that it has stays',
  options: (yargs) =>
    yargs
      .positional('name', { type: 'string', demandOption: true, description: 'name of the agent' })
      .options(askOptions),
  run: revokeEnrolment,
};

async function listEnrolments(
  options: ArgumentsCamelCase<ListOptions>,
  terminal: Terminal,
): Promise<ExitStatus> {
  const { json, wide } = options;
  const client = await CollectorClient.create(options, terminal);
  const { enrolments } = await client.get('/api/enrolments', enrolmentPage);
  if (json) for (const enrolment of enrolments) writeJson(terminal, { type: 'enrolment', ...enrolment });
  else if (enrolments.length === 0) writeLine(terminal, 'No pending enrolments.');
  else {
    const timeOf = timeFormat(terminal, { wide, nowMs: client.nowMs });
    const rows = enrolments.map(({ agent, expires }) => [agent, timeOf(expires)]);
    writeTable(terminal, [{ name: 'agent', isElastic: true }, { name: 'token expires' }], rows, { wide });
  }
  return 0;
}

async function revokeEnrolment(
  options: ArgumentsCamelCase<RevokeOptions>,
  terminal: Terminal,
): Promise<ExitStatus> {
  const client = await CollectorClient.create(options, terminal);
  const path = `/api/enrolments/${encodeURIComponent(options.name)}`;
  const { enrolment } = await client.delete(path, revokedAnswer);
  if (options.json) writeJson(terminal, { type: 'enrolment', ...enrolment, revoked: true });
  else writeLine(terminal, `the one-time token of ${enrolment.agent} is revoked`);
  return 0;
}
