/** The lab: a real Ray cluster, each host in a network namespace of its own (see raylab's README). */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import { SHARED_FOLDER } from '../support/corpus.ts';

const run = promisify(execFile);
const RAYLAB_FOLDER = join(SHARED_FOLDER, 'raylab');
const RAYLAB = join(RAYLAB_FOLDER, 'raylab');
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;

export type HostName = 'head' | 'w1' | 'w2' | 'w3' | 'client' | 'intruder';

const descriptionSchema = z.object({
  gcsAddress: z.string(),
  ipv6: z.boolean(),
  hosts: z.array(
    z.object({
      name: z.string(),
      netns: z.string(),
      ip: z.string(),
      nodeId: z.string().nullable(),
      objectManagerPort: z.number().nullable(),
    }),
  ),
});
type Description = z.output<typeof descriptionSchema>;

/** An object that is made on one node and fetched by others. */
interface Transfer {
  readonly on: HostName;
  readonly to: readonly HostName[];
  readonly bytes: number;
}

/** What may be asked of an object manager, with its arguments: ids of nodes and objects have 28 bytes. */
const CALLS = {
  pull: ['ab'.repeat(28), 'cd'.repeat(28)],
  push: ['cd'.repeat(28), '65536', 'ab'.repeat(28), '1'],
  free: [],
  hold: ['3'],
} as const;
type Call = keyof typeof CALLS;

export class Lab {
  #description: Description;

  private constructor(description: Description) {
    this.#description = description;
  }

  /** Starts a cluster of head, w1 and w2, beside client and intruder, which are no members; about 45 s. */
  static async up(options: readonly string[]): Promise<Lab> {
    return new Lab(parse(await raylab('up', '--nodes', '3', ...options)));
  }

  /** Ends everything in the lab's namespaces and removes them. */
  async down(): Promise<void> {
    await raylab('down');
  }

  async add(host: HostName): Promise<void> {
    this.#description = parse(await raylab('add', host));
  }

  /** Ends a host's processes and removes its namespace; it stays known to this object. */
  async remove(host: HostName): Promise<void> {
    await raylab('remove', host);
  }

  /** The words before a command that is to run on a host. */
  within(host: HostName): readonly string[] {
    return [RAYLAB, 'exec', host, '--'];
  }

  address(host: HostName): string {
    return this.#host(host).ip;
  }

  namespace(host: HostName): string {
    return this.#host(host).netns;
  }

  objectManagerPort(host: HostName): number {
    return this.#host(host).objectManagerPort ?? 0;
  }

  /** The router between the hosts, where a collector can listen: its namespace and its address. */
  get hub(): { readonly namespace: string; readonly address: string } {
    const head = this.address('head');
    return {
      namespace: 'rl-hub',
      address: head.replace(this.#description.ipv6 ? /::.*$/ : /\d+$/, this.#description.ipv6 ? '::1' : '1'),
    };
  }

  /** Lets a Ray driver on the head move objects. */
  async move(transfers: readonly Transfer[]): Promise<void> {
    const plan = transfers.map(({ on, to, bytes }, index) => ({
      on: this.address(on),
      to: to.map((host) => this.address(host)),
      kind: 'random',
      size: bytes,
      seed: index + 1,
    }));
    await this.python('head', 'transfer.py', this.#gcsAddress(), JSON.stringify(plan));
  }

  /**
   * Calls a node's object manager as a program that is no Ray node.
   * @param settings of the program, such as `ROGUE_TLS=1`
   */
  async call(from: HostName, of: HostName, what: Call, ...settings: readonly string[]): Promise<void> {
    const program = ['python', join(RAYLAB_FOLDER, 'drivers', 'rogue.py')];
    await this.exec(from, 'env', ...settings, ...program, what, this.#objectManager(of), ...CALLS[what]);
  }

  /** Runs a command on a host and returns what it wrote; its exit status does not matter. */
  async exec(host: HostName, ...command: readonly string[]): Promise<string> {
    const [file = '', ...words] = [...this.within(host), ...command];
    const options = { maxBuffer: MAX_OUTPUT_BYTES, timeout: 120_000 };
    const { stdout } = await run(file, words, options).catch((error: { stdout?: string }) => ({
      stdout: error.stdout ?? '',
    }));
    return stdout;
  }

  /** Runs one of raylab's drivers on a host. */
  async python(host: HostName, driver: string, ...words: readonly string[]): Promise<string> {
    return this.exec(host, 'python', join(RAYLAB_FOLDER, 'drivers', driver), ...words);
  }

  #objectManager(host: HostName): string {
    return `${bracketed(this.address(host))}:${this.objectManagerPort(host)}`;
  }

  #gcsAddress(): string {
    return `${bracketed(this.address('head'))}:6379`;
  }

  #host(name: HostName): Description['hosts'][number] {
    const host = this.#description.hosts.find((candidate) => candidate.name === name);
    if (host === undefined) throw new Error(`the lab has no host ${name}`);
    return host;
  }
}

async function raylab(...words: readonly string[]): Promise<string> {
  const { stdout } = await run(RAYLAB, words, { maxBuffer: MAX_OUTPUT_BYTES });
  return stdout;
}

function parse(text: string): Description {
  return descriptionSchema.parse(JSON.parse(text));
}

function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}
