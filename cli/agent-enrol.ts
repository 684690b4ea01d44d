/**
 * `plasmawatch agent enrol`: gives this node's agent a key of its own, and the settings with which the service finds its
 * collector. Run again it changes nothing; another identity is never written over.
 */
import { randomBytes } from 'node:crypto';
import { chown, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { WebSocket } from 'ws';
import { Document, parseDocument } from 'yaml';
import type { ArgumentsCamelCase } from 'yargs';
import type { z } from 'zod';
import { agentConfigSchema } from '../agent/config.ts';
import { AgentKey, hasAgentKey } from '../agent/uplink/agent-key.ts';
import { enrolAgent } from '../agent/uplink/enrol.ts';
import { openSpool } from '../agent/uplink/spool.ts';
import { systemClock } from '../common/clock.ts';
import { parseYaml, readTextFile } from '../common/config-file.ts';
import { formatDiagnostic } from '../common/diagnostic.ts';
import { PlasmawatchError, systemCodeOf } from '../common/errors.ts';
import { packageVersion } from '../common/package.ts';
import { PATHS } from '../common/paths.ts';
import { agentNameSchema } from '../common/protocol.ts';
import { loadPem } from '../common/secret.ts';
import type { Command, ExitStatus, Terminal } from './command.ts';
import { writeJson, writeLine, writeProblem } from './output.ts';
import { readSecret } from './secret-input.ts';
import { defaultNodeName } from './system.ts';

interface EnrolOptions {
  readonly url: string;
  readonly 'token-stdin': boolean;
  readonly name: string | undefined;
  readonly 'ca-file': string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly config: string;
  readonly json: boolean;
}

type AgentConfig = z.output<typeof agentConfigSchema>;

/** The host of the settings that ship: nobody's (RFC 2606). */
const EXAMPLE_HOST = /(^|\.)example\.(com|net|org)$/;
const SPOOL = { path: ':memory:', maxBytes: 1024 * 1024, maxReports: 1 };

export const agentEnrolCommand: Command<EnrolOptions> = {
  usage: 'enrol',
  description: 'exchange a one-time token for a key of this agent, and write what the service needs',
  options: (yargs) =>
    yargs
      .option('url', {
        alias: 'collector',
        type: 'string',
        demandOption: true,
        requiresArg: true,
        description: 'of the collector: https://collector.example.com:9440',
      })
      .option('token-stdin', {
        type: 'boolean',
        default: false,
        description: 'read the token of `plasmawatch agents enrol` from standard input',
      })
      .option('name', {
        type: 'string',
        requiresArg: true,
        description: 'name that the token was made for; that of the settings, or the host name',
      })
      .option('ca-file', {
        type: 'string',
        requiresArg: true,
        description: "authority of the collector's certificate (PEM)",
      })
      .option('cert', { type: 'string', requiresArg: true, description: "the agent's certificate (PEM)" })
      .option('key', { type: 'string', requiresArg: true, description: 'its key (PEM)' })
      .option('config', {
        type: 'string',
        default: PATHS.agentConfig,
        requiresArg: true,
        description: 'settings of the agent; made where there are none',
      })
      .option('json', { type: 'boolean', default: false, description: 'one JSON object a line' }),
  run: enrol,
};

async function enrol(options: ArgumentsCamelCase<EnrolOptions>, terminal: Terminal): Promise<ExitStatus> {
  const url = socketUrlOf(options.url);
  const settings = await readSettings(options.config, terminal);
  if (settings === undefined) return 2;
  const node = options.name ?? settings.config?.node ?? defaultNodeName();
  if (!agentNameSchema.safeParse(node).success) {
    throw new PlasmawatchError('PW_USAGE', '--name: expected letters, digits and . _ : - only, 128 at most');
  }
  refuseOtherIdentity(options.config, settings.config, { node, url });
  const folder = settings.config?.stateFolder ?? PATHS.agentState;
  const keyFile = join(folder, 'agent.key');
  const say = (happened: 'enrolled' | 'enrolled already'): ExitStatus => {
    const said = { agent: node, url, settings: options.config, key: keyFile };
    if (options.json) {
      writeJson(terminal, { type: 'enrolment', ...said, changed: happened === 'enrolled' });
      return 0;
    }
    writeLine(terminal, `${node} is ${happened} at ${url}; settings: ${options.config}, key: ${keyFile}`);
    if (happened === 'enrolled') writeLine(terminal, 'Next: sudo systemctl restart plasmawatch-agent');
    return 0;
  };
  if (hasAgentKey(folder)) {
    if (isOurs(settings.config, { node, url })) return say('enrolled already');
    throw new PlasmawatchError(
      'PW_USAGE',
      `${keyFile} is the key of an agent that ${options.config} does not describe as ${node} at ${url}: nothing is changed; to enrol this node anew remove the key first`,
    );
  }
  if (!options.tokenStdin) {
    throw new PlasmawatchError(
      'PW_USAGE',
      'give the one-time token with --token-stdin: plasmawatch agents enrol makes it',
    );
  }
  const files = {
    caFile: absolute(options.caFile),
    cert: absolute(options.cert),
    key: absolute(options.key),
  };
  const draft = await writeDraft(options.config, settingsText(settings.text, { node, url, ...files }));
  try {
    await exchange(settings.config, { node, url, folder, files }, terminal);
    await rename(draft, options.config);
  } finally {
    await rm(draft, { force: true });
  }
  return say('enrolled');
}

/** The agent speaks WebSocket at the URL that commands ask by HTTP. */
function socketUrlOf(text: string): string {
  const url = URL.canParse(text) ? new URL(text.replace(/^http/i, 'ws')) : undefined;
  const isOurs =
    url !== undefined &&
    ['ws:', 'wss:'].includes(url.protocol) &&
    `${url.username}${url.password}${url.search}${url.hash}` === '';
  if (isOurs) return `${url.protocol}//${url.host}`;
  throw new PlasmawatchError('PW_USAGE', '--url: expected such as https://collector.example.com:9440');
}

interface Settings {
  /** Empty where there are none. */
  readonly text: string;
  readonly config: AgentConfig | undefined;
}

/** The settings that are there; undefined when they are wrong: then the problems have been written. */
async function readSettings(file: string, terminal: Terminal): Promise<Settings | undefined> {
  const isThere = await stat(file).then(
    () => true,
    (error: unknown) => {
      if (systemCodeOf(error) === 'ENOENT') return false;
      throw error;
    },
  );
  if (!isThere) return { text: '', config: undefined };
  const { text, problem } = await readTextFile(file);
  if (text === undefined) throw new PlasmawatchError('PW_CONFIG', `${file}: ${problem}`);
  const { value, diagnostics } = parseYaml(agentConfigSchema, text, file);
  for (const diagnostic of diagnostics) writeProblem(terminal, formatDiagnostic(diagnostic, text));
  return value === undefined ? undefined : { text, config: value };
}

interface Identity {
  readonly node: string;
  readonly url: string;
}

/** @throws PlasmawatchError PW_USAGE where the settings are those of another agent, or of another collector */
function refuseOtherIdentity(file: string, config: AgentConfig | undefined, { node, url }: Identity): void {
  if (config === undefined) return;
  if (config.node !== undefined && config.node !== node) {
    throw new PlasmawatchError(
      'PW_USAGE',
      `${file} is of the agent ${config.node}, not ${node}: nothing is changed`,
    );
  }
  const { hostname } = new URL(config.collector.url);
  if (!isSameUrl(config.collector.url, url) && !EXAMPLE_HOST.test(hostname)) {
    throw new PlasmawatchError(
      'PW_USAGE',
      `${file} names the collector ${config.collector.url}, not ${url}: nothing is changed; to move the agent change collector.url first`,
    );
  }
}

function isOurs(config: AgentConfig | undefined, { node, url }: Identity): boolean {
  return (
    config !== undefined &&
    (config.node ?? defaultNodeName()) === node &&
    isSameUrl(config.collector.url, url)
  );
}

function isSameUrl(left: string, right: string): boolean {
  return new URL(left).origin === new URL(right).origin;
}

interface Described extends Identity {
  readonly caFile: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

/** The settings with this identity. Comments stay; the tokens that the key takes the place of go. */
function settingsText(text: string, { node, url, caFile, cert, key }: Described): string {
  const document = text === '' ? new Document({}) : parseDocument(text);
  document.setIn(['node'], node);
  document.setIn(['collector', 'url'], url);
  if (caFile !== undefined) document.setIn(['collector', 'caFile'], caFile);
  if (cert !== undefined) document.setIn(['collector', 'certificateFile'], cert);
  if (key !== undefined) document.setIn(['collector', 'keyFile'], key);
  document.deleteIn(['collector', 'tokenFile']);
  document.deleteIn(['collector', 'enrolTokenFile']);
  return document.toString({ lineWidth: 0 });
}

/** The new settings beside the old ones, so that what keeps them from being written shows before the token is used up. */
async function writeDraft(file: string, text: string): Promise<string> {
  const draft = `${file}.${randomBytes(8).toString('hex')}`;
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o755 });
    const before = await stat(file).catch(() => undefined);
    const handle = await open(draft, 'wx', 0o644);
    try {
      // The umask takes from the mode of `open`.
      await handle.chmod(before === undefined ? 0o644 : before.mode & 0o777);
      if (before !== undefined && process.geteuid?.() === 0) await handle.chown(before.uid, before.gid);
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    return draft;
  } catch (error) {
    await rm(draft, { force: true });
    throw new PlasmawatchError('PW_CONFIG', `cannot write ${file}: ${systemCodeOf(error) ?? 'error'}`, {
      operation: 'write',
      subject: file,
      cause: error,
    });
  }
}

async function exchange(
  config: AgentConfig | undefined,
  {
    node,
    url,
    folder,
    files,
  }: Identity & { readonly folder: string; readonly files: Omit<Described, 'node' | 'url'> },
  terminal: Terminal,
): Promise<void> {
  const collector = config?.collector;
  const [caFile, cert, certKey] = [
    files.caFile ?? collector?.caFile,
    files.cert ?? collector?.certificateFile,
    files.key ?? collector?.keyFile,
  ];
  if ((cert === undefined) !== (certKey === undefined)) {
    throw new PlasmawatchError('PW_USAGE', '--cert and --key: give both');
  }
  const ca = caFile === undefined ? undefined : await loadPem('--ca-file', caFile);
  const certificate =
    cert === undefined || certKey === undefined
      ? undefined
      : { cert: await loadPem('--cert', cert), key: await loadPem('--key', certKey) };
  const token = await readSecret('one-time token', terminal.stdin);
  // The service's user goes through the folder above.
  await mkdir(dirname(folder), { recursive: true, mode: 0o755 }).catch(() => {});
  const key = await AgentKey.open(folder, token);
  if (key === undefined) return;
  const spool = await openSpool(SPOOL);
  try {
    await enrolAgent({
      url,
      ca,
      certificate,
      insecure: collector?.insecure,
      key,
      spool,
      identity: { agent: node, version: packageVersion(), capture: 'none' },
      clock: systemClock,
      connect: (address, socketOptions) => new WebSocket(address, socketOptions),
    });
  } finally {
    spool.close();
    await giveToService(folder);
  }
}

/** What root writes into the folder of the service's user is that user's, too. */
async function giveToService(folder: string): Promise<void> {
  if (process.geteuid?.() !== 0) return;
  const { uid, gid } = await stat(folder);
  for (const name of ['agent.key', 'agent.key.new'])
    await chown(join(folder, name), uid, gid).catch(() => {});
}

function absolute(file: string | undefined): string | undefined {
  return file === undefined ? undefined : resolve(file);
}
