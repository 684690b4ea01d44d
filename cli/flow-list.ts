/** Lists of connections on standard output: JSON for machines, a table for people; all of them, or the largest. */
import { once } from 'node:events';
import { FlowLines } from '../agent/flow/flow-lines.ts';
import type { Flow } from '../agent/flow/flow.ts';
import { flowRecord } from '../agent/flow/record.ts';
import type { FlowRecord } from '../common/event.ts';
import type { Terminal } from './command.ts';
import { writeLine } from './output.ts';
import { shortTime } from '../common/time.ts';
import { formatSize } from '../common/units.ts';
import { writeTable, type Column } from './table.ts';

/** Rows of the table for people, unless they ask for a number: the largest, where there are more. */
const MAX_ROWS = 100_000;

/** Where the flows go. */
export interface FlowList {
  /** Takes a flow as it stands; what it says later does not matter. */
  add(flow: Flow<unknown>, interfaceName: string | undefined): void;
  /** Whether standard output has more than it can take; then wait for `drained` before adding more. */
  readonly isFull: boolean;
  drained(): Promise<void>;
  /** To be called once, after the last flow. */
  end(): Promise<void>;
}

interface FlowListOptions {
  readonly json: boolean;
  /** All columns and exact numbers, however narrow the terminal is. */
  readonly wide: boolean;
  /** How many flows to list, those with the most bytes; undefined: all. */
  readonly top: number | undefined;
  /** Called before something is written. */
  readonly beforeWrite: () => void;
}

export function createFlowList(
  terminal: Terminal,
  { json, top, wide, beforeWrite }: FlowListOptions,
): FlowList {
  if (json && top === undefined) return new JsonList(terminal, beforeWrite);
  return new LargestFlows(top ?? MAX_ROWS, (records, omitted) => {
    beforeWrite();
    if (json) writeRecords(terminal, records);
    else writeRows(terminal, records, { omitted: top === undefined ? omitted : 0, wide });
  });
}

/** JSON, a line a flow, in the order in which they come. */
class JsonList implements FlowList {
  readonly #stdout: NodeJS.WritableStream;
  readonly #beforeWrite: () => void;
  readonly #lines = new FlowLines();
  #isFull = false;

  constructor({ stdout }: Terminal, beforeWrite: () => void) {
    this.#stdout = stdout;
    this.#beforeWrite = beforeWrite;
  }

  get isFull(): boolean {
    return this.#isFull;
  }

  add(flow: Flow<unknown>, interfaceName: string | undefined): void {
    this.#lines.add(flow, interfaceName);
    if (this.#lines.isFull) this.#write();
  }

  async drained(): Promise<void> {
    if (this.#isFull) await once(this.#stdout, 'drain');
    this.#isFull = false;
  }

  async end(): Promise<void> {
    this.#write();
    await this.drained();
  }

  #write(): void {
    const lines = this.#lines.take();
    if (lines.length === 0) return;
    this.#beforeWrite();
    if (!this.#stdout.write(lines)) this.#isFull = true;
  }
}

/** Keeps the flows with the most bytes, and hands them over at the end, the largest first. */
class LargestFlows implements FlowList {
  readonly isFull = false;
  readonly #limit: number;
  readonly #write: (records: readonly FlowRecord[], omitted: number) => void;
  #records: FlowRecord[] = [];
  #omitted = 0;
  /** The bytes of the smallest flow that is sure to be kept so far: no smaller one needs a record. */
  #threshold = -1;

  constructor(limit: number, write: (records: readonly FlowRecord[], omitted: number) => void) {
    this.#limit = limit;
    this.#write = write;
  }

  add(flow: Flow<unknown>, interfaceName: string | undefined): void {
    if (flow.initiator.bytes + flow.responder.bytes <= this.#threshold) {
      this.#omitted++;
      return;
    }
    this.#records.push(flowRecord(flow, { interfaceName }));
    if (this.#records.length >= 2 * this.#limit) this.#keepLargest();
  }

  drained(): Promise<void> {
    return Promise.resolve();
  }

  end(): Promise<void> {
    this.#keepLargest();
    this.#write(this.#records, this.#omitted);
    return Promise.resolve();
  }

  #keepLargest(): void {
    this.#records.sort((a, b) => bytesOf(b) - bytesOf(a));
    if (this.#records.length < this.#limit) return;
    this.#omitted += this.#records.length - this.#limit;
    this.#records = this.#records.slice(0, this.#limit);
    const smallest = this.#records.at(-1);
    if (smallest !== undefined) this.#threshold = bytesOf(smallest);
  }
}

function bytesOf({ source, destination }: FlowRecord): number {
  return source.bytes + destination.bytes;
}

function writeRecords({ stdout }: Terminal, records: readonly FlowRecord[]): void {
  stdout.write(records.map((record) => `${JSON.stringify(record)}\n`).join(''));
}

function writeRows(
  terminal: Terminal,
  records: readonly FlowRecord[],
  { omitted, wide }: { readonly omitted: number; readonly wide: boolean },
): void {
  const isExact = wide || terminal.columns === undefined;
  const rows = records.map((record) => rowOf(record, isExact));
  writeTable(terminal, COLUMNS, rows, { wide });
  if (omitted > 0) writeLine(terminal, `and ${omitted} smaller connections`);
}

const COLUMNS: readonly Column[] = [
  { name: 'start', dropOrder: 4 },
  { name: 'source' },
  { name: 'destination' },
  { name: 'state' },
  { name: 'packets', isNumber: true, dropOrder: 3 },
  { name: 'bytes', isNumber: true },
  { name: 'packets back', isNumber: true, dropOrder: 2 },
  { name: 'bytes back', isNumber: true, dropOrder: 1 },
];

function rowOf({ event, source, destination, plasmawatch }: FlowRecord, isExact: boolean): string[] {
  const size = (bytes: number) => (isExact ? String(bytes) : formatSize(bytes));
  return [
    isExact ? event.start : shortTime(event.start),
    endpoint(source),
    endpoint(destination),
    plasmawatch.state,
    String(source.packets),
    size(source.bytes),
    String(destination.packets),
    size(destination.bytes),
  ];
}

function endpoint({ ip, port }: FlowRecord['source']): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}
