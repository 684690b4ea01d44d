/** A recording of one version of Ray: the traffic of w1, who the nodes are, and how the raylet of w1 looked in /proc. */
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';

const PID = 4711;
const RAYLET_FILE = '/opt/ray/lib/python3.11/site-packages/ray/core/src/ray/raylet/raylet';

const rayletSchema = z.object({ argv: z.array(z.string()), logLine: z.string() });
const summarySchema = z.object({
  data: z.object({
    summary: z.array(
      z.object({ raylet: z.looseObject({ nodeManagerAddress: z.string(), objectManagerPort: z.number() }) }),
    ),
  }),
});

export class RecordedVersion {
  /** What `GET /nodes?view=summary` answered. */
  readonly summary: z.output<typeof summarySchema>;
  readonly #raylet: z.output<typeof rayletSchema>;
  readonly #prefix: string;

  private constructor(prefix: string, summary: unknown, raylet: unknown) {
    this.#prefix = prefix;
    this.summary = summarySchema.parse(summary);
    this.#raylet = rayletSchema.parse(raylet);
  }

  /** @param prefix the path of its files without what begins with `.w1`, `.rules` and so on */
  static async read(prefix: string): Promise<RecordedVersion> {
    const read = async (end: string): Promise<unknown> =>
      JSON.parse(await readFile(`${prefix}.${end}`, 'utf8'));
    return new RecordedVersion(prefix, await read('nodes-summary.json'), await read('raylet-w1.json'));
  }

  get capture(): string {
    return `${this.#prefix}.w1.pcap.gz`;
  }

  get rules(): string {
    return `${this.#prefix}.rules.yaml`;
  }

  /** The address of w1. */
  get address(): string {
    return this.#option('node_ip_address');
  }

  /** The port that Ray lists for w1. */
  get objectManagerPort(): number {
    const own = this.summary.data.summary.find(({ raylet }) => raylet.nodeManagerAddress === this.address);
    return own?.raylet.objectManagerPort ?? 0;
  }

  /**
   * Makes a folder as /proc was, with the raylet of w1 alone, run by this process's user.
   * @param starts how often Ray was started in this session: each start has a log of its own, and the last is that of the raylet
   */
  async writeProc(proc: string, starts = 1): Promise<void> {
    const user = process.getuid?.() ?? 0;
    const file = async (path: string, text: string): Promise<void> => {
      await mkdir(dirname(join(proc, path)), { recursive: true });
      await writeFile(join(proc, path), text);
    };
    const link = async (path: string, target: string): Promise<void> => {
      await mkdir(dirname(join(proc, path)), { recursive: true });
      await symlink(target, join(proc, path));
    };
    const { argv, logLine } = this.#raylet;
    const session = this.#option('session_dir');
    const outputs = Array.from({ length: starts }, (_, index) =>
      index === 0 ? `${session}/logs/raylet.out` : `${session}/logs/raylet.${index}.out`,
    );
    const output = outputs.at(-1) ?? '';
    const ids = Array(4).fill(user).join('\t');
    // The program, which must lie where nobody else can write.
    await file(RAYLET_FILE.slice(1), 'the program');
    await link('self/ns/net', 'net:[1]');
    const named = argv.map((option) =>
      option.startsWith('--stdout_filepath=') ? `--stdout_filepath=${output}` : option,
    );
    await file(`${PID}/cmdline`, `${named.join('\0')}\0`);
    await file(`${PID}/stat`, `${PID} (raylet) S 1 ${'0 '.repeat(17)}4711 0\n`);
    await file(`${PID}/status`, `Name:\traylet\nUid:\t${ids}\nGid:\t${ids}\n`);
    await link(`${PID}/ns/net`, 'net:[1]');
    await link(`${PID}/exe`, join(proc, RAYLET_FILE));
    await link(`${PID}/fd/1`, output);
    // It listens at two ports: the object manager's and the node manager's.
    const ports = [this.objectManagerPort, this.#nodeManagerPort()];
    for (const [index, port] of ports.entries()) await link(`${PID}/fd/${index + 10}`, `socket:[${port}]`);
    await file(`${PID}/net/tcp6`, ports.map((port) => listenerLine(port, user)).join(''));
    const formerPort = this.objectManagerPort === 40_000 ? 40_001 : 40_000;
    for (const path of outputs) {
      const line =
        path === output
          ? logLine
          : logLine
              .replace(/Raylet of id, [0-9a-f]+/, `Raylet of id, ${'ab'.repeat(28)}`)
              .replaceAll(`:${this.objectManagerPort} `, `:${formerPort} `);
      await file(
        `${PID}/root${path}`,
        `[2026-11-28 11:00:35,000 I 1 1] (raylet) main.cc:1: noise\n${line}\n`,
      );
    }
  }

  #nodeManagerPort(): number {
    const own = this.summary.data.summary.find(({ raylet }) => raylet.nodeManagerAddress === this.address);
    return z.number().parse(own?.raylet.nodeManagerPort);
  }

  #option(name: string): string {
    const option = this.#raylet.argv.find((word) => word.startsWith(`--${name}=`));
    return option?.slice(name.length + 3) ?? '';
  }
}

/** A listening socket in the kernel's table; its inode is its port. */
function listenerLine(port: number, userId: number): string {
  const any = '0'.repeat(32);
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  return `   0: ${any}:${hex} ${any}:0000 0A 00000000:00000000 00:00000000 00000000  ${userId} 0 ${port} 1 0 100 0 0 10 0\n`;
}
