/** `plasmawatch rules check` and `plasmawatch rules explain`: the allowlist without a packet. */
import { createMembership } from '../agent/membership/from-rules.ts';
import { ServiceLocator } from '../agent/membership/services.ts';
import {
  formatAddress,
  isMappedOnWire,
  parseAddress,
  parseFlowAddress,
  type Address,
} from '../common/address.ts';
import { systemClock } from '../common/clock.ts';
import { PlasmawatchError } from '../common/errors.ts';
import { createLogger } from '../common/log.ts';
import { suggestWord } from '../common/schema-message.ts';
import { explain, type Explanation, type Question } from '../rules/explain.ts';
import { loadRules, type LoadedRules } from '../rules/load.ts';
import type { Ruleset } from '../rules/match.ts';
import { KNOWN_SERVICES, OBJECT_MANAGER } from '../rules/schema.ts';
import type { Command, ExitStatus, Terminal } from './command.ts';
import { lookHere, sourcesHere } from './membership-here.ts';
import { writeJson, writeLine, writeProblem } from './output.ts';
import { describeProblems } from './rules-file.ts';

interface CheckOptions {
  readonly path: string[];
  readonly json: boolean;
}

export const rulesCheckCommand: Command<CheckOptions> = {
  usage: 'check <path..>',
  description: 'say what is wrong with rule files, and where',
  options: (yargs) =>
    yargs
      .positional('path', {
        type: 'string',
        array: true,
        demandOption: true,
        description: 'rule files, or folders of them; each is an allowlist by itself',
      })
      .option('json', { type: 'boolean', default: false, description: 'one JSON object a line' }),
  run: checkRuleFiles,
};

interface ExplainOptions {
  readonly from: string;
  readonly to: string;
  readonly rules: string;
  readonly at: string | undefined;
  readonly json: boolean;
}

export const rulesExplainCommand: Command<ExplainOptions> = {
  usage: 'explain <from> <to>',
  description: 'tell whether a connection would be allowed, and why',
  options: (yargs) =>
    yargs
      .positional('from', {
        type: 'string',
        demandOption: true,
        description: 'address that opens the connection',
      })
      .positional('to', {
        type: 'string',
        demandOption: true,
        description:
          'ADDRESS, ADDRESS:PORT or ADDRESS:SERVICE (IPv6 in brackets); object-manager when left out',
      })
      .option('rules', {
        type: 'string',
        demandOption: true,
        requiresArg: true,
        description: 'the allowlist: a file or a folder',
      })
      .option('at', {
        type: 'string',
        requiresArg: true,
        description: 'time, such as 2027-03-01T12:00:00Z; now when left out',
      })
      .option('json', { type: 'boolean', default: false, description: 'one JSON object a line' }),
  run: explainConnection,
};

async function checkRuleFiles({ path, json }: CheckOptions, terminal: Terminal): Promise<ExitStatus> {
  let isFaulty = false;
  for (const one of path) {
    const loaded = await loadRules(one, { clock: systemClock });
    if (json) writeCheckJson(one, loaded, terminal);
    else writeCheck(one, loaded, terminal);
    isFaulty ||= loaded.ruleset === undefined;
  }
  return isFaulty ? 2 : 0;
}

function writeCheck(path: string, loaded: LoadedRules, terminal: Terminal): void {
  for (const problem of describeProblems(loaded)) writeProblem(terminal, problem);
  if (loaded.ruleset === undefined) return;
  const { rules, groups } = loaded.ruleset;
  writeLine(terminal, `${path}: ok, ${counted(rules.length, 'rule')}, ${counted(groups.size, 'group')}`);
}

function writeCheckJson(
  path: string,
  { ruleset, diagnostics, fingerprint }: LoadedRules,
  terminal: Terminal,
): void {
  for (const diagnostic of diagnostics)
    writeJson(terminal, Object.assign({ type: 'diagnostic' }, diagnostic));
  writeJson(terminal, {
    type: 'rules',
    path,
    ok: ruleset !== undefined,
    rules: ruleset?.rules.length ?? null,
    groups: ruleset?.groups.size ?? null,
    fingerprint,
  });
}

async function explainConnection(options: ExplainOptions, terminal: Terminal): Promise<ExitStatus> {
  refuseMapped('FROM', options.from);
  const source = parseAddress(options.from);
  if (source === undefined)
    throw new PlasmawatchError('PW_USAGE', `FROM: expected an address, got ${options.from}`);
  const { destination, target } = parseTarget(options.to);
  const timeMs = options.at === undefined ? systemClock.now() : parseTime(options.at);
  const loaded = await loadRules(options.rules, { clock: systemClock });
  for (const problem of describeProblems(loaded)) writeProblem(terminal, problem);
  const { ruleset } = loaded;
  if (ruleset === undefined) return 2;
  if (typeof target === 'string') refuseUnknownService(target, ruleset);
  const question = { source, destination, target, timeMs };
  const explanation = await explainFromHere(question, ruleset, terminal);
  if (options.json) writeJson(terminal, explanationJson(question, explanation));
  else for (const line of explanationLines(question, explanation)) writeLine(terminal, line);
  return explanation.verdict.allowed ? 0 : 1;
}

/** Asks with the membership as this machine sees it at the moment. */
async function explainFromHere(
  question: Question,
  ruleset: Ruleset,
  terminal: Pick<Terminal, 'env'>,
): Promise<Explanation> {
  const logger = createLogger({ level: 'warn', format: 'text' });
  const membership = createMembership(ruleset, sourcesHere(await lookHere(terminal), logger, terminal));
  try {
    await membership.start();
    const locator = new ServiceLocator({ services: ruleset.services, membership });
    const servicesAt = locator.servicesOfMember.bind(locator);
    return explain(question, { ruleset, membership, servicesAt });
  } finally {
    await membership.stop();
  }
}

/** `::ffff:10.0.0.1` in an IPv6 packet is not 10.0.0.1, so that nobody can tell which of both is asked for. */
function refuseMapped(name: string, text: string): void {
  const address = parseFlowAddress(text);
  if (address === undefined || !isMappedOnWire(address)) return;
  const ipv4 = formatAddress({ ...address, w0: 0 });
  throw new PlasmawatchError('PW_USAGE', `${name}: \`${text}\` is IPv4 written as IPv6; write \`${ipv4}\``);
}

/** `10.0.0.1`, `10.0.0.1:8265`, `10.0.0.1:gcs`, `fd00::1`, `[fd00::1]:8265`. */
function parseTarget(text: string): { destination: Address; target: number | string } {
  const whole = parseAddress(text);
  refuseMapped('TO', text);
  if (whole !== undefined) return { destination: whole, target: OBJECT_MANAGER };
  const match = /^(?:\[([^\]]+)\]|([^:]+)):([^:\s]+)$/.exec(text);
  const destination = parseAddress(match?.[1] ?? match?.[2] ?? '');
  refuseMapped('TO', match?.[1] ?? '');
  const target = match?.[3] ?? '';
  if (destination === undefined) {
    throw new PlasmawatchError(
      'PW_USAGE',
      `TO: expected ADDRESS, ADDRESS:PORT or ADDRESS:SERVICE, got ${text}`,
    );
  }
  if (!/^\d+$/.test(target)) return { destination, target };
  const port = Number(target);
  if (port < 1 || port > 65_535) {
    throw new PlasmawatchError('PW_USAGE', `TO: expected a port from 1 to 65535, got ${target}`);
  }
  return { destination, target: port };
}

function refuseUnknownService(service: string, ruleset: Ruleset): void {
  const known = new Set([...ruleset.services.keys(), ...KNOWN_SERVICES.keys()]);
  if (known.has(service)) return;
  throw new PlasmawatchError('PW_USAGE', `TO: unknown service ${service}${suggestWord(service, [...known])}`);
}

function parseTime(text: string): number {
  const isComplete = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/.test(text);
  const timeMs = isComplete ? Date.parse(text) : NaN;
  if (!Number.isNaN(timeMs)) return timeMs;
  throw new PlasmawatchError('PW_USAGE', `--at: expected a time such as 2027-03-01T12:00:00Z, got ${text}`);
}

function explanationLines({ source, destination, target }: Question, found: Explanation): string[] {
  const { verdict, rule, groups, isToMember, isWithinNode, services, unapproved, needed } = found;
  const within = isWithinNode ? ': a node may talk to itself' : '';
  const place = rule === undefined ? within : `: rule \`${rule.name}\` (${rule.file}:${rule.line})`;
  const listed = (address: Address): string =>
    unapproved.includes(address) ? ', listed as a member and not approved' : '';
  const from = groups.length === 0 ? 'in no group' : `in ${groups.join(', ')}`;
  const to = isToMember
    ? `member of the cluster, ${services.join(', ') || 'no watched service'}`
    : 'no member of the cluster';
  return [
    `${verdict.allowed ? 'allowed' : `unexpected, ${verdict.reason}`}${place}`,
    `  from ${formatAddress(source)}: ${from}${listed(source)}`,
    `  to ${formatAddress(destination)} ${typeof target === 'number' ? `port ${target}` : target}: ${to}${listed(destination)}`,
    ...needed.map((sentence, index) => `  ${index === 0 ? 'needed' : '    or'}: ${sentence}`),
  ];
}

function explanationJson({ source, destination, target, timeMs }: Question, found: Explanation): object {
  const { verdict, rule, groups, isToMember, services, unapproved, needed } = found;
  return {
    type: 'explanation',
    at: new Date(timeMs).toISOString(),
    verdict,
    rule: rule === undefined ? null : { name: rule.name, file: rule.file, line: rule.line },
    source: { ip: formatAddress(source), groups },
    destination: { ip: formatAddress(destination), target, member: isToMember, services },
    unapproved: unapproved.map(formatAddress),
    needed,
  };
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
