/** `plasmawatch agents`: the fleet as the collector knows it, enrolling new agents, and retiring those that are gone. */
import type { ArgumentsCamelCase, Argv } from 'yargs';
import {
  agentAnswer,
  AGENT_COLUMNS,
  agentRows,
  describeAgent,
  enrolmentAnswer,
  isInOrder,
  readAgents,
  type AgentAnswer,
} from './agent-view.ts';
import { PlasmawatchError } from '../common/errors.ts';
import { shortTime } from '../common/time.ts';
import { timeFormat } from './age.ts';
import { askOptions, CollectorClient, type AskCommandOptions } from './collector-client.ts';
import { writeSecretFile } from './secret-file.ts';
import type { Command, ExitStatus, Terminal } from './command.ts';
import { writeJson, writeLine, writeProblem } from './output.ts';
import { tableOptions, writeTable } from './table.ts';

interface OneOptions extends AskCommandOptions {
  readonly name: string;
}

interface ListOptions extends AskCommandOptions {
  readonly wide: boolean;
}

interface ShowOptions extends OneOptions {
  readonly wide: boolean;
}

export const agentsListCommand: Command<ListOptions> = {
  usage: ['list', '$0'],
  description:
    'list agents by name; exit status 1 where one is missing, blind or away, guesses its port or does not know the members',
  options: (yargs) => yargs.options({ ...tableOptions, ...askOptions }),
  run: listAgents,
};

export const agentsShowCommand: Command<ShowOptions> = {
  usage: 'show <name>',
  description: 'show all that is known of one agent; exit status as of the list',
  options: (yargs) => oneAgent(yargs).options(tableOptions),
  run: showAgent,
};

export const agentsRetireCommand: Command<OneOptions> = {
  usage: 'retire <name>',
  description: 'declare an agent gone for good: its absence is not an incident, and its key is revoked',
  options: oneAgent,
  run: retireAgent,
};

interface EnrolOptions extends OneOptions {
  readonly out: string | undefined;
}

export const agentsEnrolCommand: Command<EnrolOptions> = {
  usage: 'enrol <name>',
  description: 'make a one-time token with which a new agent gets a key of its own',
  options: (yargs) =>
    oneAgent(yargs).option('out', {
      type: 'string',
      requiresArg: true,
      description: 'a new file for the token, which only you can read; standard output when left out',
    }),
  run: enrolAgent,
};

function oneAgent(yargs: Argv): Argv<OneOptions> {
  return yargs
    .positional('name', { type: 'string', demandOption: true, description: 'name of the agent' })
    .options(askOptions);
}

async function listAgents(options: ArgumentsCamelCase<ListOptions>, terminal: Terminal): Promise<ExitStatus> {
  const { json, wide } = options;
  const client = await CollectorClient.create(options, terminal);
  const agents: AgentAnswer[] = [];
  for await (const agent of readAgents(client)) agents.push(agent);
  if (json) for (const agent of agents) writeJson(terminal, { type: 'agent', ...agent });
  else if (agents.length === 0) writeLine(terminal, 'No agents: none has connected yet.');
  else {
    const timeOf = timeFormat(terminal, { wide, nowMs: client.nowMs });
    writeTable(terminal, AGENT_COLUMNS, agentRows(agents, timeOf), { wide });
  }
  return agents.every(isInOrder) ? 0 : 1;
}

async function showAgent(options: ArgumentsCamelCase<ShowOptions>, terminal: Terminal): Promise<ExitStatus> {
  const { name, json, wide } = options;
  const client = await CollectorClient.create(options, terminal);
  for await (const agent of readAgents(client)) {
    if (agent.name !== name) continue;
    const timeOf = timeFormat(terminal, { wide, nowMs: client.nowMs });
    if (json) writeJson(terminal, { type: 'agent', ...agent });
    else for (const line of describeAgent(agent, timeOf)) writeLine(terminal, line);
    return isInOrder(agent) ? 0 : 1;
  }
  throw new PlasmawatchError(
    'PW_API',
    `the collector has never heard of an agent ${name}; see plasmawatch agents`,
  );
}

async function retireAgent(options: ArgumentsCamelCase<OneOptions>, terminal: Terminal): Promise<ExitStatus> {
  const client = await CollectorClient.create(options, terminal);
  const { agent } = await client.delete(`/api/agents/${encodeURIComponent(options.name)}`, agentAnswer);
  if (options.json) writeJson(terminal, { type: 'agent', ...agent });
  else writeLine(terminal, `${agent.name} is ${agent.state}`);
  return 0;
}

async function enrolAgent(
  options: ArgumentsCamelCase<EnrolOptions>,
  terminal: Terminal,
): Promise<ExitStatus> {
  const client = await CollectorClient.create(options, terminal);
  const path = `/api/agents/${encodeURIComponent(options.name)}/enrol`;
  const ask = () => client.post(path, enrolmentAnswer);
  if (options.out !== undefined) {
    const { enrolment } = await writeSecretFile(options.out, ask, ({ enrolment: { token } }) => token);
    if (options.json)
      writeJson(terminal, { type: 'enrolment', ...enrolment, token: null, file: options.out });
    else
      writeProblem(
        terminal,
        `${enrolment.agent} may exchange ${options.out} once, until ${shortTime(enrolment.expires)}`,
      );
    return 0;
  }
  const { enrolment } = await ask();
  if (options.json) {
    writeJson(terminal, { type: 'enrolment', ...enrolment });
    return 0;
  }
  // The token alone on standard output, so that it can go into a file.
  writeLine(terminal, enrolment.token);
  writeProblem(terminal, `${enrolment.agent} may exchange this once, until ${shortTime(enrolment.expires)}`);
  return 0;
}
