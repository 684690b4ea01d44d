/**
 * Where a node's other services listen, as its raylet and the files of its session tell it (Ray 2.60): the ports of the
 * dashboard's agent and of the runtime environment's, the range of the workers, and the port of the head's dashboard.
 */
import type { PortRange } from '../../rules/schema.ts';

export interface ServicePortsOfNode {
  /** By service, where the node tells it. */
  readonly agentPorts?: ReadonlyMap<string, number>;
  /** Workers and drivers pick a port of it each; left out where any port may be one. */
  readonly workerPorts?: PortRange;
  /** Of the head. */
  readonly dashboardPort?: number;
  /** Where the head's dashboard is, as Ray tells workers: a loopback address where only the head itself reaches it. */
  readonly dashboardHost?: string;
  /** The program that its workers run, as the raylet sees it: a Python. */
  readonly workerProgram?: string;
}

interface AgentService {
  readonly service: string;
  /** An option of `raylet` whose value is the port, or a command line with the port in it; 0 for left to chance. */
  readonly option: string;
  readonly word: RegExp;
  /** `NAME_NODEID` in the session's folder holds the port that was picked. */
  readonly file: string;
}

/** A command within the command line; Ray's have some 2 KiB. */
const MAX_COMMAND_LENGTH = 16_384;
/** Ports of a list that are looked at. */
const MAX_LISTED_PORTS = 4096;

const ALONE = /^(\d+)$/;

/** The services by the names of the options of `ray start`. */
const AGENT_SERVICES: readonly AgentService[] = [
  {
    service: 'dashboard-agent',
    file: 'dashboard_agent_listen_port',
    option: 'dashboard_agent_command',
    word: / --listen-port=(\d+)\b/,
  },
  {
    service: 'dashboard-agent-grpc',
    file: 'metrics_agent_port',
    option: 'metrics-agent-port',
    word: ALONE,
  },
  { service: 'metrics-export', file: 'metrics_export_port', option: 'metrics_export_port', word: ALONE },
  {
    service: 'runtime-env-agent',
    file: 'runtime_env_agent_port',
    option: 'runtime_env_agent_port',
    word: ALONE,
  },
];

interface PortSearch {
  /** The options of the raylet's command line. */
  readonly options: ReadonlyMap<string, string>;
  /** The session's folder, as the raylet sees it. */
  readonly sessionFolder: string;
  readonly nodeId: string;
  /** The start of a small file; undefined where it cannot be read. */
  readonly readText: (path: string) => Promise<string | undefined>;
}

export async function findServicePorts(search: PortSearch): Promise<ServicePortsOfNode> {
  const agentPorts = new Map<string, number>();
  // One file after the other: each may take a thread, and there are four.
  for (const service of AGENT_SERVICES) {
    const port = await portOf(service, search);
    if (port !== undefined) agentPorts.set(service.service, port);
  }
  const workerPorts = workerRange(search.options);
  // Every worker is told where the dashboard is.
  const workerCommand = shortOption(search.options, 'python_worker_command');
  const [, dashboardHost, webuiPort] =
    /\s--webui=(?:https?:\/\/)?\[?([\w.:-]{1,255}?)\]?:(\d+)\/?(?:\s|$)/.exec(workerCommand) ?? [];
  const dashboardPort = parsePort(webuiPort);
  const workerProgram = /^(\/[^\s\0]{1,4095})\s/.exec(workerCommand)?.[1];
  return {
    ...(agentPorts.size === 0 ? {} : { agentPorts }),
    ...(workerPorts === undefined ? {} : { workerPorts }),
    ...(dashboardPort === undefined || dashboardHost === undefined ? {} : { dashboardPort, dashboardHost }),
    ...(workerProgram === undefined ? {} : { workerProgram }),
  };
}

/** A real port; 0 means that one was to be picked. */
export function parsePort(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,5}$/.test(text)) return undefined;
  const port = Number(text);
  return port >= 1 && port <= 65_535 ? port : undefined;
}

/** Empty where it is longer than any of Ray's: a part of it would say something else. */
function shortOption(options: ReadonlyMap<string, string>, name: string): string {
  const text = options.get(name) ?? '';
  return text.length > MAX_COMMAND_LENGTH ? '' : text;
}

async function portOf(
  { file, option, word }: AgentService,
  { options, sessionFolder, nodeId, readText }: PortSearch,
): Promise<number | undefined> {
  const given = parsePort(word.exec(shortOption(options, option))?.[1]);
  if (given !== undefined || nodeId === '') return given;
  // Whoever has an account on the node may write into the session's folder: the command line is believed first.
  return parsePort((await readText(`${sessionFolder}/${file}_${nodeId}`))?.trim());
}

function workerRange(options: ReadonlyMap<string, string>): PortRange | undefined {
  const list = options.get('worker_port_list') ?? '';
  const listed = list.split(',', MAX_LISTED_PORTS).flatMap((text) => parsePort(text) ?? []);
  const first = parsePort(options.get('min_worker_port')) ?? Math.min(...listed);
  const last = parsePort(options.get('max_worker_port')) ?? Math.max(...listed);
  return first <= last ? { first, last } : undefined;
}
