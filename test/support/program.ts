/** The built program as a real process: started, watched, killed. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { packagePath } from '../../common/package.ts';
import { waitFor } from './wait-for.ts';

interface ProgramOptions {
  /** The network namespace to run in; this process's own without. */
  readonly namespace?: string;
  /** Words to put before the command, which then runs where they say. */
  readonly within?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** User id to run as, without any capability; this process's own without. */
  readonly user?: number;
}

export class Program {
  readonly stdout: string[] = [];
  readonly stderr: string[] = [];
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;

  /** Starts `plasmawatch` with these words. */
  constructor(words: readonly string[], { namespace, within = [], env, user }: ProgramOptions = {}) {
    const command = [process.execPath, packagePath('dist/cli/main.cjs'), ...words];
    const place = namespace === undefined ? within : ['ip', 'netns', 'exec', namespace];
    const [file = '', ...args] = [...place, ...command];
    const child = spawn(file, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
      ...(user === undefined ? {} : { uid: user, gid: user }),
    });
    createInterface(child.stdout).on('line', (line) => this.stdout.push(line));
    createInterface(child.stderr).on('line', (line) => this.stderr.push(line));
    this.#child = child;
    this.#ended = once(child, 'close');
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Waits until a line of either stream contains the text; fails with all lines when the process ends before. */
  async said(text: string, limitMs?: number): Promise<void> {
    await waitFor(
      () => [...this.stdout, ...this.stderr].some((line) => line.includes(text)) || this.#hasEnded(),
      `"${text}" from the program`,
      limitMs,
    );
    if (this.#hasEnded() && ![...this.stdout, ...this.stderr].some((line) => line.includes(text))) {
      throw new Error(
        `the program ended without saying "${text}":\n${[...this.stdout, ...this.stderr].join('\n')}`,
      );
    }
  }

  /** SIGKILL, and waits for the end. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }

  /** SIGTERM, and waits for the end; the exit status. */
  async stop(): Promise<number | null> {
    this.#child.kill('SIGTERM');
    await this.#ended;
    return this.#child.exitCode;
  }

  /** Waits until it ends by itself; the exit status. */
  async ended(): Promise<number | null> {
    await this.#ended;
    return this.#child.exitCode;
  }

  #hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }
}
