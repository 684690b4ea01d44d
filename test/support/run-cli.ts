/** Runs a command line inside the test's process, with streams of its own. */
import { Readable, Writable } from 'node:stream';
import { runCommandLine } from '../../cli/main.ts';
import type { ExitStatus, Terminal } from '../../cli/command.ts';

export interface CliResult {
  readonly status: ExitStatus;
  readonly stdout: string;
  readonly stderr: string;
}

interface CliSurroundings {
  readonly stdin?: Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  readonly stopSignal?: AbortSignal;
  readonly isInteractive?: boolean;
}

/** Runs `plasmawatch` with these words and collects what it writes. */
export async function runCli(
  words: readonly string[],
  surroundings: CliSurroundings = {},
): Promise<CliResult> {
  const stdout = new Collector();
  const stderr = new Collector();
  const terminal: Terminal = {
    stdin: Readable.from(surroundings.stdin === undefined ? [] : [Buffer.from(surroundings.stdin)]),
    stdout,
    stderr,
    env: surroundings.env ?? {},
    isInteractive: surroundings.isInteractive ?? false,
    stopSignal: surroundings.stopSignal ?? new AbortController().signal,
  };
  const status = await runCommandLine(words, terminal);
  return { status, stdout: stdout.text, stderr: stderr.text };
}

/** A stream that keeps what is written to it. */
class Collector extends Writable {
  readonly #chunks: Buffer[] = [];

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#chunks.push(chunk);
    done();
  }

  get text(): string {
    return Buffer.concat(this.#chunks).toString('utf8');
  }
}
