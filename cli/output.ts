/** Results on standard output: one JSON object a line for machines, sentences for people. */
import type { Anomaly } from '../common/event.ts';
import { escapeUnseen, onItsLines, plainText } from '../common/plain-text.ts';
import { shortTime } from '../common/time.ts';
import { formatSize } from '../common/units.ts';
import type { Terminal } from './command.ts';

/** Writes one object as a line of JSON on standard output; what a terminal would act on is escaped, as JSON allows. */
export function writeJson({ stdout }: Pick<Terminal, 'stdout'>, value: unknown): void {
  stdout.write(`${escapeUnseen(JSON.stringify(value))}\n`);
}

/** Writes text on standard output, without what a terminal would act on. */
export function writeLine({ stdout }: Pick<Terminal, 'stdout'>, line: string): void {
  stdout.write(`${onItsLines(line)}\n`);
}

/** Writes text on standard error, where progress and problems go; as `writeLine`. */
export function writeProblem({ stderr }: Pick<Terminal, 'stderr'>, line: string): void {
  stderr.write(`${onItsLines(line)}\n`);
}

/** An anomaly as a sentence with its counts. */
export function describeAnomaly({ first, severity, kind, message, count, bytes }: Anomaly): string {
  return `${shortTime(first)}  ${severity.padEnd(8)}  ${kind}  ${plainText(message)}; ${countedConnections(count)}, ${formatSize(bytes)}`;
}

/** `1 connection`, `3 connections`. */
export function countedConnections(count: number): string {
  return count === 1 ? '1 connection' : `${count} connections`;
}
