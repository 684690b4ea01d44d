/** Results on standard output: one JSON object a line for machines, sentences for people. */
import type { Anomaly } from '../common/event.ts';
import { shortTime } from '../common/time.ts';
import { formatSize } from '../common/units.ts';
import type { Terminal } from './command.ts';

/** Writes one object as a line of JSON on standard output. */
export function writeJson({ stdout }: Pick<Terminal, 'stdout'>, value: unknown): void {
  stdout.write(`${JSON.stringify(value)}\n`);
}

/** Writes a line of text on standard output. */
export function writeLine({ stdout }: Pick<Terminal, 'stdout'>, line: string): void {
  stdout.write(`${line}\n`);
}

/** Writes a line of text on standard error, where progress and problems go. */
export function writeProblem({ stderr }: Pick<Terminal, 'stderr'>, line: string): void {
  stderr.write(`${line}\n`);
}

/** An anomaly as a sentence with its counts. */
export function describeAnomaly({ first, severity, kind, message, count, bytes }: Anomaly): string {
  return `${shortTime(first)}  ${severity.padEnd(8)}  ${kind}  ${message}; ${countedConnections(count)}, ${formatSize(bytes)}`;
}

/** `1 connection`, `3 connections`. */
export function countedConnections(count: number): string {
  return count === 1 ? '1 connection' : `${count} connections`;
}
