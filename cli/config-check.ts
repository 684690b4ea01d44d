/** `plasmawatch config check`: would a service start with this settings file? */
import { stat } from 'node:fs/promises';
import type { ArgumentsCamelCase } from 'yargs';
import type { z } from 'zod';
import { agentConfigSchema, type AgentConfig } from '../agent/config.ts';
import { resolveEndpoint } from '../agent/uplink/endpoint.ts';
import { collectorConfigSchema, type CollectorConfig } from '../collector/config.ts';
import { LiveSettings } from '../collector/live-settings.ts';
import { systemSockets } from '../collector/notify/sockets.ts';
import { loadCollectorSecrets } from '../collector/secrets.ts';
import { systemClock } from '../common/clock.ts';
import { loadYamlFile, readTextFile } from '../common/config-file.ts';
import { formatDiagnostic, type Diagnostic } from '../common/diagnostic.ts';
import { messageOf, PlasmawatchError } from '../common/errors.ts';
import { packagePath } from '../common/package.ts';
import { parseYamlDocument } from '../common/yaml-document.ts';
import { loadRules } from '../rules/load.ts';
import { loadAgentSecrets, oneTimeToken } from './agent-secrets.ts';
import type { Command, ExitStatus, Terminal } from './command.ts';
import { secretFilesOf, warnOfOpenSecrets } from './open-secrets.ts';
import { writeJson, writeLine, writeProblem } from './output.ts';
import { rayletTrust } from './raylet-trust.ts';

const GROUP_AND_OTHERS_READ = 0o044;
const NOTHING: Findings = { errors: [], warnings: [] };

type Kind = 'agent' | 'collector';

interface ConfigCheckOptions {
  readonly file: string;
  readonly agent: boolean | undefined;
  readonly collector: boolean | undefined;
  readonly json: boolean;
}

export const configCheckCommand: Command<ConfigCheckOptions> = {
  usage: 'check <file>',
  description: 'say whether a service would start with these settings, and what is wrong',
  options: (yargs) =>
    yargs
      .positional('file', {
        type: 'string',
        demandOption: true,
        description: 'settings of the agent or of the collector',
      })
      .option('agent', {
        type: 'boolean',
        description: "they are the agent's; recognised by their keys when left out",
      })
      .option('collector', { type: 'boolean', description: "they are the collector's" })
      .conflicts('agent', 'collector')
      .option('json', { type: 'boolean', default: false, description: 'one JSON object a line' }),
  run: checkConfig,
};

/** What a check found, a text each: errors that keep a service from its start, and warnings that do not. */
interface Findings {
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}

async function checkConfig(
  { file, agent, collector, json }: ArgumentsCamelCase<ConfigCheckOptions>,
  terminal: Terminal,
): Promise<ExitStatus> {
  const kind = agent === true ? 'agent' : collector === true ? 'collector' : await recognise(file);
  const findings =
    kind === 'agent'
      ? await check(file, agentConfigSchema, (config) => checkAgent(config, terminal))
      : await check(file, collectorConfigSchema, (config) => checkCollector(config, terminal));
  const isOk = findings.errors.length === 0;
  if (json) {
    writeJson(terminal, { type: 'config', path: file, service: kind, ok: isOk, ...findings });
  } else {
    for (const text of [...findings.warnings, ...findings.errors]) writeProblem(terminal, text);
    if (isOk) writeLine(terminal, `${file}: ok, settings of the ${kind}`);
  }
  return isOk ? 0 : 2;
}

/** The text against the schema, then what the service would do with it at its start. */
async function check<Schema extends z.ZodType<object>>(
  file: string,
  schema: Schema,
  tryOut: (config: z.output<Schema>) => Promise<Findings>,
): Promise<Findings> {
  const { value, diagnostics, source } = await loadYamlFile(schema, file);
  const told = splitBySeverity(diagnostics, (diagnostic) => formatDiagnostic(diagnostic, source));
  if (value === undefined) return told;
  const tried = await tryOut(value);
  return {
    errors: [...told.errors, ...tried.errors],
    warnings: [...told.warnings, ...tried.warnings, ...(await secretWarnings(value))],
  };
}

async function checkAgent(config: AgentConfig, terminal: Terminal): Promise<Findings> {
  const rules = await checkRules(config.rules ?? packagePath('rules/object-manager.yaml'));
  const errors = await problemsOf(
    async () => {
      const secrets = await loadAgentSecrets(config, terminal, { sharesToken: false });
      const { url, insecure } = config.collector;
      resolveEndpoint({ ...secrets, url, insecure });
    },
    () => oneTimeToken(config, terminal),
    () => rayletTrust(config.ray, terminal),
  );
  return { errors: [...rules.errors, ...errors], warnings: rules.warnings };
}

async function checkCollector(config: CollectorConfig, terminal: Terminal): Promise<Findings> {
  const rules = config.rules === undefined ? NOTHING : await checkRules(config.rules.path);
  const errors = await problemsOf(async () => {
    const secrets = await loadCollectorSecrets(config, terminal.env);
    const outside = { fetch: globalThis.fetch, clock: systemClock, sockets: systemSockets };
    return new LiveSettings(config, secrets, { ...outside, stdout: terminal.stdout });
  });
  return { errors: [...rules.errors, ...errors], warnings: rules.warnings };
}

async function checkRules(path: string): Promise<Findings> {
  const { diagnostics, sources } = await loadRules(path, { clock: systemClock });
  return splitBySeverity(diagnostics, (diagnostic) =>
    formatDiagnostic(diagnostic, sources.get(diagnostic.file)),
  );
}

/** What people can mend of what these throw. */
async function problemsOf(...tries: readonly (() => Promise<unknown>)[]): Promise<string[]> {
  const problems: string[] = [];
  for (const attempt of tries) {
    try {
      await attempt();
    } catch (error) {
      if (!(error instanceof PlasmawatchError)) throw error;
      problems.push(`error: ${messageOf(error)} [${error.code}]`);
    }
  }
  return problems;
}

/** Warnings of the start, and of secrets that root can read and the service's own user cannot. */
async function secretWarnings(config: object): Promise<string[]> {
  const warnings: string[] = [];
  await warnOfOpenSecrets(config, {
    warn: ({ setting }, message) => warnings.push(`warning: ${setting}: ${message}`),
  });
  if (process.geteuid?.() !== 0) return warnings;
  for (const { setting, file } of secretFilesOf(config)) {
    const found = await stat(file).catch(() => undefined);
    if (found === undefined || found.uid !== 0 || (found.mode & GROUP_AND_OTHERS_READ) !== 0) continue;
    warnings.push(
      `warning: ${setting}: only root can read ${file}: a service of another user cannot (chmod, chgrp)`,
    );
  }
  return warnings;
}

/**
 * Whose settings these are, by the keys that only one of the services has.
 * @throws PlasmawatchError PW_USAGE where the keys do not say, PW_CONFIG where the file cannot be read
 */
async function recognise(file: string): Promise<Kind> {
  const { text, problem } = await readTextFile(file);
  if (text === undefined) throw new PlasmawatchError('PW_CONFIG', `${file}: ${problem}`);
  const { value } = parseYamlDocument(text, file);
  const keys = typeof value === 'object' && value !== null ? Object.keys(value) : [];
  const countOnlyIn = (own: object, other: object): number =>
    keys.filter((key) => Object.hasOwn(own, key) && !Object.hasOwn(other, key)).length;
  const [agent, collector] = [agentConfigSchema.shape, collectorConfigSchema.shape];
  const difference = countOnlyIn(agent, collector) - countOnlyIn(collector, agent);
  if (difference !== 0) return difference > 0 ? 'agent' : 'collector';
  throw new PlasmawatchError(
    'PW_USAGE',
    `${file}: the keys do not say whose settings these are: give --agent or --collector`,
  );
}

function splitBySeverity(
  diagnostics: readonly Diagnostic[],
  format: (diagnostic: Diagnostic) => string,
): Findings {
  const texts = (severity: Diagnostic['severity']): string[] =>
    diagnostics.filter((diagnostic) => diagnostic.severity === severity).map((each) => format(each));
  return { errors: texts('error'), warnings: texts('warning') };
}
