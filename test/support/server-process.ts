/** A server of another project, started as a process on free ports and ended by its process id. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { waitFor } from './wait-for.ts';

export class ServerProcess {
  readonly #child: ChildProcess;
  readonly #name: string;
  #output = '';

  private constructor(name: string, file: string, words: readonly string[], cwd: string) {
    this.#name = name;
    this.#child = spawn(file, words, { stdio: ['ignore', 'pipe', 'pipe'], cwd });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.#output = (this.#output + chunk.toString('utf8')).slice(-10_000);
      });
    }
  }

  /** Starts it and waits until it is ready; fails with what it said when it ends before. */
  static async start(
    file: string,
    words: readonly string[],
    { cwd, isReady }: { readonly cwd: string; readonly isReady: () => Promise<boolean> },
  ): Promise<ServerProcess> {
    const server = new ServerProcess(file, file, words, cwd);
    await waitFor(
      async () => {
        if (server.#child.exitCode !== null) throw new Error(`${file} ended:\n${server.#output}`);
        return await isReady();
      },
      `${file} to be ready`,
      60_000,
    );
    return server;
  }

  /** Whether an HTTP server answers at the address with a status of success. */
  static answers(url: string): () => Promise<boolean> {
    return async () => {
      try {
        return (await fetch(url)).ok;
      } catch {
        return false;
      }
    };
  }

  async stop(): Promise<void> {
    await this.#end('SIGTERM');
  }

  /** SIGKILL, and waits for the end. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    if (!this.#child.kill(signal)) throw new Error(`${this.#name} cannot be ended`);
    await ended;
  }
}
