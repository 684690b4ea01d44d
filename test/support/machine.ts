/**
 * Machines of a test: containers of systemd-nspawn that boot a bare Debian, each in a network namespace of its own on one
 * switch. The program is installed there as an installation of its package would; an operator without a password may use sudo.
 */
import { execFile, execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { packagePath } from '../../common/package.ts';
import { bareRoot, cached } from './bare-root.ts';
import { ip } from './netns.ts';
import { waitFor } from './wait-for.ts';

/** Not below /tmp: an overlay needs a file system that can hold one, which a tmpfs of /tmp may not be. */
const WORK = '/var/tmp';
const INSTALLED = 'usr/lib/node_modules/plasmawatch';
const OPERATOR = 'ops';
const BOOT_LIMIT_MS = 60_000;

/** What a command wrote, on both streams, and its exit status. */
export interface Outcome {
  readonly status: number;
  readonly output: string;
}

/** A network with a switch, and the machines and peers on it; everything is gone after `close`. */
export class Laboratory {
  readonly folder: string;
  readonly #unique = `pwlab${process.pid}`;
  readonly #machines: Machine[] = [];
  readonly #namespaces: string[] = [];
  #program: string | undefined;

  constructor() {
    this.folder = mkdtempSync(join(WORK, 'plasmawatch-lab-'));
  }

  /** The switch. */
  async open(): Promise<void> {
    const hub = await this.#addNamespace('hub');
    await ip('-n', hub, 'link', 'add', 'br0', 'type', 'bridge');
    await ip('-n', hub, 'link', 'set', 'br0', 'up');
  }

  /**
   * Boots a machine.
   * @param hosts names that it resolves, with their addresses
   */
  async boot(name: string, address: string, hosts: Readonly<Record<string, string>>): Promise<Machine> {
    const namespace = await this.addPeer(name, address);
    const machine = new Machine({
      name,
      namespace,
      folder: join(this.folder, name),
      layers: [this.#programLayer(), runtimeLayer(), bareRoot()],
      hosts: { localhost: '127.0.0.1', [name]: address, ...hosts },
    });
    this.#machines.push(machine);
    await machine.boot();
    return machine;
  }

  /** A namespace on the switch, with an address in 198.18.0.0/24. */
  async addPeer(name: string, address: string): Promise<string> {
    const namespace = await this.#addNamespace(name);
    const hub = `${this.#unique}-hub`;
    const port = `to-${name}`.slice(0, 15);
    await ip('-n', hub, 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace);
    await ip('-n', hub, 'link', 'set', port, 'master', 'br0', 'up');
    await ip('-n', namespace, 'addr', 'add', `${address}/24`, 'dev', 'eth0');
    await ip('-n', namespace, 'link', 'set', 'eth0', 'up');
    return namespace;
  }

  async close(): Promise<void> {
    await Promise.all(this.#machines.map((machine) => machine.stop()));
    for (const namespace of this.#namespaces) spawnSync('ip', ['netns', 'del', namespace]);
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #addNamespace(name: string): Promise<string> {
    const namespace = `${this.#unique}-${name}`;
    await ip('netns', 'add', namespace);
    this.#namespaces.push(namespace);
    await ip('-n', namespace, 'link', 'set', 'lo', 'up');
    return namespace;
  }

  /** The program's own files, as `npm install --global` of the packed package would put them there. */
  #programLayer(): string {
    if (this.#program !== undefined) return this.#program;
    const layer = join(this.folder, 'program');
    copyInto(join(layer, INSTALLED), packedFiles());
    mkdirSync(join(layer, 'usr/bin'));
    symlinkSync('../lib/node_modules/plasmawatch/dist/cli/main.cjs', join(layer, 'usr/bin/plasmawatch'));
    execFileSync('chmod', ['0755', join(layer, INSTALLED, 'dist/cli/main.cjs')]);
    execFileSync('chown', ['-R', 'root:root', layer]);
    this.#program = layer;
    return layer;
  }
}

/** Node, npm and the program's dependencies. They come from this machine: an installation would need a registry and compilers. */
function runtimeLayer(): string {
  const lock = readFileSync(packagePath('package-lock.json'));
  return cached(['runtime', lock.toString('base64'), process.version], (draft) => {
    copyInto(join(draft, INSTALLED), lockedDependencies());
    mkdirSync(join(draft, 'usr/bin'));
    execFileSync('cp', [realpathSync(process.execPath), join(draft, 'usr/bin/node')]);
    execFileSync('cp', ['--archive', npmFolder(), join(draft, 'usr/lib/node_modules/npm')]);
    symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(draft, 'usr/bin/npm'));
    execFileSync('chown', ['-R', 'root:root', draft]);
  });
}

/** Copies files and folders of the project, with their paths. */
function copyInto(target: string, paths: readonly string[]): void {
  mkdirSync(target, { recursive: true });
  execFileSync('cp', ['--archive', '--parents', ...paths, target], { cwd: packagePath('.') });
}

interface MachineOptions {
  readonly name: string;
  readonly namespace: string;
  readonly folder: string;
  /** The upper ones first; they stay as they are. */
  readonly layers: readonly string[];
  readonly hosts: Readonly<Record<string, string>>;
}

export class Machine {
  readonly name: string;
  readonly namespace: string;
  /** The machine's root, as this process sees it. */
  readonly root: string;
  readonly #options: MachineOptions;
  #container: ChildProcess | undefined;
  #console = '';
  #init: number | undefined;

  constructor(options: MachineOptions) {
    this.name = options.name;
    this.namespace = options.namespace;
    this.root = join(options.folder, 'root');
    this.#options = options;
  }

  async boot(): Promise<void> {
    const { name, namespace, folder, layers, hosts } = this.#options;
    for (const part of ['upper', 'work', 'root']) mkdirSync(join(folder, part), { recursive: true });
    const options = `lowerdir=${layers.join(':')},upperdir=${folder}/upper,workdir=${folder}/work,redirect_dir=on`;
    execFileSync('mount', ['-t', 'overlay', 'overlay', '-o', options, this.root]);
    this.write(
      '/etc/hosts',
      Object.entries(hosts)
        .map(([host, at]) => `${at} ${host}\n`)
        .join(''),
    );
    this.write('/etc/hostname', `${name}\n`);
    this.write('/etc/sudoers.d/ops', `${OPERATOR} ALL=(ALL) NOPASSWD: ALL\n`);
    execFileSync('chroot', [this.root, 'useradd', '--create-home', '--shell', '/bin/bash', OPERATOR]);
    const words = [
      '--quiet',
      '--boot',
      `--directory=${this.root}`,
      `--machine=${namespace}`,
      `--hostname=${name}`,
      `--network-namespace-path=/run/netns/${namespace}`,
      '--register=no',
      '--keep-unit',
      '--link-journal=no',
      '--resolv-conf=off',
      '--timezone=off',
      // As on a real machine, where the agent's unit may have them.
      '--capability=CAP_BPF,CAP_NET_ADMIN,CAP_NET_RAW,CAP_SYS_PTRACE,CAP_DAC_READ_SEARCH',
      '--system-call-filter=bpf',
    ];
    this.#container = spawn('systemd-nspawn', words, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#container.stdout, this.#container.stderr]) {
      stream?.on(
        'data',
        (chunk: Buffer) => (this.#console = (this.#console + chunk.toString()).slice(-5000)),
      );
    }
    await waitFor(() => this.#isRunning(), `${name} to boot`, BOOT_LIMIT_MS);
  }

  /** Writes a file of root on the machine. */
  write(path: string, text: string, mode = 0o644): void {
    mkdirSync(dirname(join(this.root, path)), { recursive: true });
    writeFileSync(join(this.root, path), text, { mode });
  }

  read(path: string): string {
    return readFileSync(join(this.root, path), 'utf8');
  }

  /** Runs a script of bash; it ends with the first command that fails. */
  async run(script: string, { user = 'root' }: { readonly user?: string } = {}): Promise<Outcome> {
    const inside = ['-t', String(this.#init), '-a', '--', 'runuser', '-u', user, '--'];
    const shell = [
      'env',
      '-i',
      `HOME=${user === 'root' ? '/root' : `/home/${user}`}`,
      `USER=${user}`,
      `PATH=${PATH}`,
    ];
    return await new Promise((resolve) => {
      const child = execFile(
        'nsenter',
        [...inside, ...shell, 'LANG=C.UTF-8', 'bash', '-c', `cd; exec 2>&1; ${script}`],
        { timeout: 120_000, maxBuffer: 16 * 1024 * 1024 },
        (_error, stdout, stderr) => resolve({ status: child.exitCode ?? -1, output: stdout + stderr }),
      );
    });
  }

  /** Runs as `run`; fails with what it wrote where the status is another. */
  async expect(script: string, status = 0): Promise<string> {
    const outcome = await this.run(script);
    if (outcome.status === status) return outcome.output;
    throw new Error(`on ${this.name}: ${script}\nended with ${outcome.status}:\n${outcome.output}`);
  }

  /** Ends the machine at once, as a power cut would. */
  async stop(): Promise<void> {
    const container = this.#container;
    if (container !== undefined && container.exitCode === null) {
      const ended = new Promise((resolve) => container.once('exit', resolve));
      // The end of the first process is that of all others there.
      if (this.#init === undefined) container.kill('SIGKILL');
      else process.kill(this.#init, 'SIGKILL');
      await ended;
    }
    spawnSync('umount', [this.root]);
  }

  async #isRunning(): Promise<boolean> {
    const container = this.#container;
    if (container?.pid === undefined || container.exitCode !== null) {
      throw new Error(`${this.name} did not boot:\n${this.#console}`);
    }
    const children = readFileSync(`/proc/${container.pid}/task/${container.pid}/children`, 'utf8').trim();
    if (children === '') return false;
    this.#init = Number(children.split(' ')[0]);
    const { output } = await this.run('systemctl is-system-running || true');
    return /^(running|degraded)$/m.test(output);
  }
}

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The files of the package, as `npm pack` puts them into it. */
function packedFiles(): string[] {
  const words = ['pack', '--dry-run', '--json', '--ignore-scripts'];
  const [{ files } = { files: [] }] = JSON.parse(npm(words)) as { files: { path: string }[] }[];
  return files.map(({ path }) => path);
}

/** The folders of the dependencies, in the versions of the lock file. */
function lockedDependencies(): string[] {
  const top = realpathSync(packagePath('.'));
  const folders = npm(['ls', '--all', '--omit=dev', '--parseable'])
    .split('\n')
    .filter((path) => path !== '' && path !== top);
  return folders.map((path) => path.slice(top.length + 1));
}

function npm(words: readonly string[]): string {
  return execFileSync('npm', words, {
    cwd: packagePath('.'),
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

function npmFolder(): string {
  const script = execFileSync('which', ['npm'], { encoding: 'utf8' }).trim();
  return dirname(dirname(realpathSync(script)));
}
