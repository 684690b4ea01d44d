/** `plasmawatch flows`: the TCP connections in captures. */
import { once } from 'node:events';
import { openCaptureFile } from '../agent/capture/file/open.ts';
import { PortSet, type Frame, type FrameSink, type PacketSource } from '../agent/capture/source.ts';
import { decode, DECODE_OUTCOMES, Packet, type DecodeOutcome } from '../agent/decode/packet.ts';
import type { Flow } from '../agent/flow/flow.ts';
import { flowRecord } from '../agent/flow/record.ts';
import { FlowTable } from '../agent/flow/table.ts';
import { messageOf, PlasmawatchError } from '../common/errors.ts';
import type { FlowRecord } from '../common/event.ts';
import type { Command, ExitStatus, Terminal } from './command.ts';
import { writeLine, writeProblem } from './output.ts';

/** Connections that are counted at a time, about half a gigabyte of them; the rest are told early. */
const MAX_FLOWS = 1_000_000;
/** Rows of the table for people: the largest, where there are more. */
const MAX_ROWS = 100_000;

interface FlowsCommandOptions {
  readonly file: string[];
  readonly port: number[] | undefined;
  readonly json: boolean;
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
      .option('json', { type: 'boolean', default: false, description: 'one JSON object a line' }),
  run: listFlows,
};

async function listFlows(options: FlowsCommandOptions, terminal: Terminal): Promise<ExitStatus> {
  const ports = parsePorts(options.port ?? []);
  const list = options.json ? new JsonList(terminal) : new TextList(terminal);
  const tell = (record: FlowRecord): void => {
    if (ports.size === 0 || ports.has(record.source.port) || ports.has(record.destination.port))
      list.add(record);
  };
  const counter = new FlowCounter(tell);
  const unreadable = await countAll(counter, options.file, terminal);
  for (const record of counter.openFlows()) {
    tell(record);
    if (list.isFull) await list.flush();
  }
  await list.flush();
  if (!options.json) writeLine(terminal, counter.summary());
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

/** Counts the files in order; a bad one is told and does not stop the others. Returns how many were bad. */
async function countAll(counter: FlowCounter, files: readonly string[], terminal: Terminal): Promise<number> {
  let unreadable = 0;
  for (const file of files) {
    if (terminal.stopSignal.aborted) break;
    const source = openCaptureFile(file, terminal);
    const stop = (): void => source.stop();
    terminal.stopSignal.addEventListener('abort', stop);
    try {
      await counter.count(source);
    } catch (error) {
      if (!(error instanceof PlasmawatchError)) throw error;
      writeProblem(terminal, `plasmawatch: ${messageOf(error)} [${error.code}]`);
      unreadable++;
    } finally {
      terminal.stopSignal.removeEventListener('abort', stop);
    }
  }
  return unreadable;
}

/** What the owner of a flow notes: the name of its interface, which the file knows only while it is read. */
interface Note {
  readonly interfaceName: string | undefined;
}

/** Counts packets to flows, over all files as if they were one. No flow ends by being quiet. */
class FlowCounter implements FrameSink {
  readonly #tell: (record: FlowRecord) => void;
  readonly #packet = new Packet();
  readonly #skipped = new Map<DecodeOutcome, number>();
  #tcpPackets = 0;
  readonly #table = new FlowTable<Note>({
    maxFlows: MAX_FLOWS,
    countOnOneInterface: false,
    isService: () => false,
    opened: (flow, frame) => {
      const interfaceName = this.#source?.interfaceName(frame.interfaceIndex);
      if (interfaceName !== undefined) flow.tag = { interfaceName };
    },
    ended: (flow) => this.#tell(recordOf(flow)),
  });
  #source: PacketSource | undefined = undefined;

  /** @param tell takes each flow once, when nothing more will be counted to it */
  constructor(tell: (record: FlowRecord) => void) {
    this.#tell = tell;
  }

  get evicted(): number {
    return this.#table.counters.evicted;
  }

  async count(source: PacketSource): Promise<void> {
    this.#source = source;
    await source.run(this);
  }

  frame(frame: Frame): void {
    const outcome = decode(frame, this.#packet);
    if (outcome !== 'tcp') {
      this.#skipped.set(outcome, (this.#skipped.get(outcome) ?? 0) + 1);
      return;
    }
    this.#tcpPackets++;
    this.#table.observe(frame, this.#packet);
  }

  blockEnd(): void {}

  /** The flows that no new connection between the same endpoints has ended. */
  *openFlows(): Iterable<FlowRecord> {
    for (const flow of this.#table) yield recordOf(flow);
  }

  /** One sentence: how much was counted, and what was not. */
  summary(): string {
    const skipped = DECODE_OUTCOMES.filter((outcome) => this.#skipped.has(outcome));
    const reasons = skipped.map((outcome) => `${this.#skipped.get(outcome)} ${outcome}`);
    const rest = reasons.length === 0 ? '' : `; skipped ${reasons.join(', ')}`;
    return `${this.#tcpPackets} packets of ${this.#table.counters.opened} TCP connections${rest}`;
  }
}

function recordOf(flow: Flow<Note>): FlowRecord {
  return flowRecord(flow, { interfaceName: flow.tag?.interfaceName });
}

/** Where the flows go. */
interface FlowList {
  add(record: FlowRecord): void;
  /** Whether it holds so much that it should be flushed before more is added. */
  readonly isFull: boolean;
  flush(): Promise<void>;
}

/** JSON, a line a flow, written as they come. */
class JsonList implements FlowList {
  readonly #stdout: NodeJS.WritableStream;
  #isFull = false;

  constructor({ stdout }: Terminal) {
    this.#stdout = stdout;
  }

  get isFull(): boolean {
    return this.#isFull;
  }

  add(record: FlowRecord): void {
    this.#isFull = !this.#stdout.write(`${JSON.stringify(record)}\n`);
  }

  async flush(): Promise<void> {
    if (this.#isFull) await once(this.#stdout, 'drain');
    this.#isFull = false;
  }
}

/** A table, the largest flows first. */
class TextList implements FlowList {
  readonly isFull = false;
  readonly #terminal: Terminal;
  #records: FlowRecord[] = [];
  #omitted = 0;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  add(record: FlowRecord): void {
    this.#records.push(record);
    if (this.#records.length >= 2 * MAX_ROWS) this.#keepLargest();
  }

  flush(): Promise<void> {
    this.#keepLargest();
    for (const line of formatTable(this.#records.map(rowOf))) writeLine(this.#terminal, line);
    if (this.#omitted > 0) writeLine(this.#terminal, `and ${this.#omitted} smaller connections`);
    return Promise.resolve();
  }

  #keepLargest(): void {
    this.#records.sort((a, b) => bytesOf(b) - bytesOf(a));
    this.#omitted += Math.max(0, this.#records.length - MAX_ROWS);
    this.#records = this.#records.slice(0, MAX_ROWS);
  }
}

function bytesOf({ source, destination }: FlowRecord): number {
  return source.bytes + destination.bytes;
}

const COLUMNS = ['start', 'source', 'destination', 'state', 'packets', 'bytes', 'packets back', 'bytes back'];
/** Columns of numbers, which stand to the right. */
const FIRST_NUMBER_COLUMN = 4;

function rowOf({ event, source, destination, plasmawatch }: FlowRecord): string[] {
  return [
    event.start,
    endpoint(source),
    endpoint(destination),
    plasmawatch.state,
    String(source.packets),
    String(source.bytes),
    String(destination.packets),
    String(destination.bytes),
  ];
}

function endpoint({ ip, port }: FlowRecord['source']): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}

/** Lines of a table with a headline, or none for no rows. */
function formatTable(rows: readonly string[][]): string[] {
  if (rows.length === 0) return [];
  const table = [COLUMNS, ...rows];
  const widths = COLUMNS.map((_, column) =>
    table.reduce((width, row) => Math.max(width, row[column]?.length ?? 0), 0),
  );
  return table.map((row) =>
    row
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        return column < FIRST_NUMBER_COLUMN ? cell.padEnd(width) : cell.padStart(width);
      })
      .join('  '),
  );
}
