/** `plasmawatch flows`: the TCP connections in captures. */
import { openCaptureFile } from '../agent/capture/file/open.ts';
import { PortSet, type Frame, type FrameSink, type PacketSource } from '../agent/capture/source.ts';
import { FragmentCache } from '../agent/decode/fragments.ts';
import { decode, Packet } from '../agent/decode/packet.ts';
import { SkippedPackets } from '../agent/decode/skipped.ts';
import type { Flow } from '../agent/flow/flow.ts';
import { FlowTable } from '../agent/flow/table.ts';
import { messageOf, PlasmawatchError } from '../common/errors.ts';
import type { Command, ExitStatus, Terminal } from './command.ts';
import { createFlowList, type FlowList } from './flow-list.ts';
import { writeLine, writeProblem } from './output.ts';
import { Progress, sizeOfFiles } from './progress.ts';
import { tableOptions } from './table.ts';

/** Connections that are counted at a time, about 400 MB of them; the rest are told early. */
const MAX_FLOWS = 1_000_000;

interface FlowsCommandOptions {
  readonly file: string[];
  readonly port: number[] | undefined;
  readonly top: number | undefined;
  readonly json: boolean;
  readonly wide: boolean;
}

export const flowsCommand: Command<FlowsCommandOptions> = {
  usage: 'flows <file..>',
  description: 'list the TCP connections in captures',
  options: (yargs) =>
    yargs
      .positional('file', {
        type: 'string',
        array: true,
        demandOption: true,
        description: 'pcap or pcapng files, in order, as one capture; - is standard input',
      })
      .option('port', {
        type: 'number',
        array: true,
        nargs: 1,
        description: 'only connections with this port on either side; may be repeated',
      })
      .option('top', {
        type: 'number',
        requiresArg: true,
        description: 'number of connections to list: those with the most bytes, the largest first',
      })
      .option('json', { type: 'boolean', default: false, description: 'one JSON object a line' })
      .options(tableOptions),
  run: listFlows,
};

async function listFlows(options: FlowsCommandOptions, terminal: Terminal): Promise<ExitStatus> {
  const ports = parsePorts(options.port ?? []);
  const top = parseTop(options.top);
  const progress = new Progress(terminal, await sizeOfFiles(options.file));
  const { json, wide } = options;
  const list = createFlowList(terminal, { json, top, wide, beforeWrite: () => progress.clear() });
  const counter = new FlowCounter(ports, list);
  const unreadable = await countAll(counter, options.file, { terminal, progress });
  progress.clear();
  await counter.listOpenFlows();
  await list.end();
  if (!options.json) writeLine(terminal, counter.summary());
  else if (counter.hasSkipped) writeProblem(terminal, `plasmawatch: ${counter.summary()}`);
  if (counter.evicted > 0) {
    const problem = `${counter.evicted} connections were told before their end: there were more than ${MAX_FLOWS} at a time`;
    writeProblem(terminal, `plasmawatch: ${problem}`);
  }
  return unreadable > 0 || terminal.stopSignal.aborted ? 2 : 0;
}

function parsePorts(ports: readonly number[]): PortSet {
  const wrong = ports.find((port) => !Number.isInteger(port) || port < 0 || port > 65_535);
  if (wrong !== undefined) {
    throw new PlasmawatchError('PW_USAGE', `--port: ${wrong} is no port: expected a number from 0 to 65535`);
  }
  return new PortSet(ports);
}

function parseTop(top: number | undefined): number | undefined {
  if (top !== undefined && (!Number.isSafeInteger(top) || top < 1)) {
    throw new PlasmawatchError('PW_USAGE', `--top: expected a whole number from 1, not ${top}`);
  }
  return top;
}

/** Counts the files in order; a bad one is told and does not stop the others. Returns how many were bad. */
async function countAll(
  counter: FlowCounter,
  files: readonly string[],
  { terminal, progress }: { terminal: Terminal; progress: Progress },
): Promise<number> {
  let unreadable = 0;
  for (const file of files) {
    if (terminal.stopSignal.aborted) break;
    const source = openCaptureFile(file, {
      stdin: terminal.stdin,
      onRead: (bytes) => progress.add(bytes),
    });
    const stop = (): void => source.stop();
    terminal.stopSignal.addEventListener('abort', stop);
    try {
      await counter.count(source);
    } catch (error) {
      if (!(error instanceof PlasmawatchError)) throw error;
      progress.clear();
      writeProblem(terminal, `plasmawatch: ${messageOf(error)} [${error.code}]`);
      unreadable++;
    } finally {
      terminal.stopSignal.removeEventListener('abort', stop);
    }
  }
  return unreadable;
}

/** Counts packets to flows, over all files as if they were one. No flow ends by being quiet. */
class FlowCounter implements FrameSink {
  readonly #ports: PortSet;
  readonly #list: FlowList;
  readonly #packet = new Packet();
  readonly #skipped = new SkippedPackets();
  readonly #fragments = new FragmentCache();
  /** The tag of a flow is the name of its interface, which the file knows only while it is read. */
  readonly #table: FlowTable<string>;
  #tcpPackets = 0;
  #otherPackets = 0;
  #skippedPackets = 0;
  #source: PacketSource | undefined = undefined;

  /**
   * @param ports the ports of the connections to count; empty: all
   * @param list takes each flow once, when nothing more will be counted to it
   */
  constructor(ports: PortSet, list: FlowList) {
    this.#ports = ports;
    this.#list = list;
    this.#table = new FlowTable({
      maxFlows: MAX_FLOWS,
      countOnOneInterface: false,
      isService: () => false,
      tagOf: (frame) => this.#source?.interfaceName(frame.interfaceIndex),
      ended: (flow) => this.#tell(flow),
    });
  }

  /** Connections that were told early. */
  get evicted(): number {
    return this.#table.counters.evicted;
  }

  /** Whether there were packets that are in no connection. */
  get hasSkipped(): boolean {
    return this.#skippedPackets > 0;
  }

  async count(source: PacketSource): Promise<void> {
    this.#source = source;
    await source.run(this);
  }

  frame(frame: Frame): void {
    const packet = this.#packet;
    const outcome = this.#fragments.join(frame, packet, decode(frame, packet));
    if (outcome !== 'tcp') {
      this.#skipped.count(outcome, packet);
      this.#skippedPackets++;
    } else if (
      this.#ports.size > 0 &&
      !this.#ports.has(packet.sourcePort) &&
      !this.#ports.has(packet.destinationPort)
    ) {
      this.#otherPackets++;
    } else {
      this.#tcpPackets++;
      this.#table.observe(frame, packet);
    }
  }

  /** Files leave the counting to us. */
  counts(): void {}

  blockEnd(): void {}

  /** Lists the flows that no new connection between the same endpoints has ended. */
  async listOpenFlows(): Promise<void> {
    for (const flow of this.#table) {
      this.#tell(flow);
      if (this.#list.isFull) await this.#list.drained();
    }
  }

  /** One sentence: how much was counted, and what was not. */
  summary(): string {
    const counted = `${this.#tcpPackets} packets of ${this.#table.counters.opened} TCP connections`;
    const others = this.#otherPackets === 0 ? '' : `; ${this.#otherPackets} packets of other ports`;
    const reasons = Object.entries(this.#skipped.reasons()).map(([reason, count]) => `${count} ${reason}`);
    return counted + others + (reasons.length === 0 ? '' : `; skipped ${reasons.join(', ')}`);
  }

  #tell(flow: Flow<string>): void {
    this.#list.add(flow, flow.tag);
  }
}
