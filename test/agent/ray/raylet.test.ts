import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import {
  chmod,
  copyFile,
  link,
  mkdir,
  mkdtemp,
  open,
  readFile,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { OtherProcesses } from '../../../agent/ray/other-processes.ts';
import { findRaylet, findRaylets, parseRayletLog, rayletAt } from '../../../agent/ray/raylet.ts';
import { compile } from '../../support/compile.ts';
import { freePort } from '../../support/free-port.ts';

const SAMPLES = resolve(import.meta.dirname, '../../../../shared/raylab/samples');
const VERSIONS = resolve(import.meta.dirname, '../../../../shared/pcaps/ray-versions');
const NODE_ID = '42a51f40c2b4189bd6bdba31c8367548c33406673b63dd94fccf208d';
const OTHER_NODE_ID = '03d3c9d9a0241b50cec5f7858ff74fec38dff35b49813facc1a39b49';
const SESSION = '/tmp/ray/session_2026-11-23_09-38-54_650297_5042';

function logLine(nodeId: string, port: number, address = '10.77.0.11'): string {
  return (
    `[2026-11-23 09:39:01,123 I 6316 6316] (raylet) main.cc:1: Raylet of id, ${nodeId} started. Raylet consists of ` +
    `node_manager and object_manager. node_manager address: ${address}:39629 object_manager address: ` +
    `${address}:${port} hostname: w1\n`
  );
}

const RAYLET_FILE = 'opt/lib/python3.11/site-packages/ray/core/src/ray/raylet/raylet';
/** Who runs these tests runs the raylets of them. */
const USER = process.getuid?.() ?? 0;
const STRANGER = 65_534;
/** A process whose links cannot be read. */
const HIDDEN = '';

/** What a recording keeps of a raylet. */
interface RecordedRaylet {
  readonly argv: string[];
  readonly logLine: string;
}

function recordedVersions(): string[] {
  return existsSync(VERSIONS) ? readdirSync(VERSIONS).filter((name) => name.endsWith('.raylet-w1.json')) : [];
}

/** A listening socket in the kernel's table; its inode is its port. */
function listenerLine(port: number, userId = USER): string {
  const any = '0'.repeat(32);
  const hex = port.toString(16).toUpperCase();
  return `   0: ${any}:${hex} ${any}:0000 0A 00000000:00000000 00:00000000 00000000  ${userId} 0 ${port} 1 0 100 0 0 10 0\n`;
}

function rayletArgv(changes: Readonly<Record<string, string>> = {}): string[] {
  const options = {
    object_manager_port: '43800',
    node_manager_port: '39629',
    node_id: NODE_ID,
    node_ip_address: '10.77.0.11',
    'gcs-address': '10.77.0.10:6379',
    session_dir: SESSION,
    ...changes,
  };
  return ['/opt/ray/raylet', ...Object.entries(options).map(([name, value]) => `--${name}=${value}`)];
}

describe('findRaylets', () => {
  let proc = '';
  let rayletFile = '';
  const trust = { users: new Set([USER]) };
  beforeEach(async () => {
    proc = await mkdtemp(join(tmpdir(), 'plasmawatch-proc-'));
    rayletFile = join(proc, RAYLET_FILE);
    await addFile(RAYLET_FILE, 'the program');
    await addLink('self/ns/net', 'net:[4026531840]');
  });
  afterEach(() => rm(proc, { recursive: true }));

  async function addFile(path: string, text: string): Promise<void> {
    await mkdir(dirname(join(proc, path)), { recursive: true });
    await writeFile(join(proc, path), text);
  }

  async function addLink(path: string, target: string): Promise<void> {
    await mkdir(dirname(join(proc, path)), { recursive: true });
    await symlink(target, join(proc, path));
  }

  async function addProcess(
    pid: number,
    argv: readonly string[],
    {
      namespace = 4_026_531_840,
      file = rayletFile,
      listensOn = [43_800, 45_019, 36_875],
      user = USER,
      realUser = undefined as number | undefined,
      group = undefined as number | undefined,
      startTicks = pid,
    } = {},
  ): Promise<void> {
    await addFile(`${pid}/cmdline`, `${argv.join('\0')}\0`);
    await addFile(`${pid}/stat`, `${pid} (raylet) S 1 ${'0 '.repeat(17)}${startTicks} 0\n`);
    const ids = [realUser ?? user, user, user, user].join('\t');
    const groups = Array(4)
      .fill(group ?? user)
      .join('\t');
    await addFile(`${pid}/status`, `Name:\traylet\nUid:\t${ids}\nGid:\t${groups}\n`);
    await addLink(`${pid}/ns/net`, `net:[${namespace}]`);
    if (file !== HIDDEN) await addLink(`${pid}/exe`, file);
    for (const [index, port] of listensOn.entries()) await addLink(`${pid}/fd/${index}`, `socket:[${port}]`);
    await addFile(`${pid}/net/tcp6`, listensOn.map((port) => listenerLine(port, user)).join(''));
  }

  it('takes the ports from the command line where they stand there', async () => {
    await addProcess(6316, rayletArgv());
    expect(await findRaylets({ proc, trust })).toEqual([
      {
        pid: 6316,
        startTicks: 6316,
        userId: USER,
        executable: rayletFile,
        isProven: true,
        nodeId: NODE_ID,
        nodeAddress: '10.77.0.11',
        gcsAddress: '10.77.0.10:6379',
        objectManagerPort: 43_800,
        nodeManagerPort: 39_629,
        how: 'argv',
      },
    ]);
  });

  it('takes the id of the cluster, which no other cluster has', async () => {
    await addProcess(6316, rayletArgv({ 'cluster-id': NODE_ID }));
    await addProcess(6317, rayletArgv({ 'cluster-id': 'not an id' }));
    expect((await findRaylets({ proc, trust })).map(({ clusterId }) => clusterId)).toEqual([
      NODE_ID,
      undefined,
    ]);
  });

  it('takes a random port from the log, as the raylet sees its files', async () => {
    await addProcess(6316, rayletArgv({ object_manager_port: '0', node_manager_port: '0' }));
    const log = logLine(OTHER_NODE_ID, 1111) + logLine(NODE_ID, 36_875);
    await addFile(`6316/root${SESSION}/logs/raylet.out`, log);
    expect(await findRaylet({ proc, trust })).toMatchObject({
      objectManagerPort: 36_875,
      nodeManagerPort: 39_629,
      how: 'log',
    });
  });

  it.each([
    ['where its output goes', 'raylet.1.out', true],
    ['behind that of its start before', 'raylet.out', false],
  ])(
    'takes the port of its own start (%s), in the session of a raylet before it',
    async (_where, log, hasOutput) => {
      // As Ray 2.9 does: without an id of the node and a path of the log.
      const argv = rayletArgv({ object_manager_port: '0', node_manager_port: '0' });
      await addProcess(
        6316,
        argv.filter((option) => !option.startsWith('--node_id=')),
        { listensOn: [45_019] },
      );
      const folder = `6316/root${SESSION}/logs`;
      const before = logLine(OTHER_NODE_ID, 36_875);
      await addFile(`${folder}/raylet.out`, before);
      await addFile(`${folder}/${log}`, (hasOutput ? '' : before) + logLine(NODE_ID, 45_019));
      if (hasOutput) await addLink('6316/fd/1', `${SESSION}/logs/${log}`);
      expect(await findRaylets({ proc, trust })).toMatchObject([
        { isProven: true, objectManagerPort: 45_019, how: 'log' },
      ]);
    },
  );

  it('is a raylet still where its log tells a port of another one', async () => {
    await addProcess(6316, rayletArgv({ object_manager_port: '0', node_id: '' }), { listensOn: [45_019] });
    await addFile(`6316/root${SESSION}/logs/raylet.out`, logLine(OTHER_NODE_ID, 36_875));
    expect(await findRaylets({ proc, trust })).toMatchObject([
      { isProven: true, objectManagerPort: undefined, gcsAddress: '10.77.0.10:6379' },
    ]);
  });

  const RANDOM_PORTS = { object_manager_port: '0', node_manager_port: '0' };
  const FOLDER = `${SESSION}/logs`;
  const OLD_START = logLine(OTHER_NODE_ID, 36_001);
  const OWN_START = logLine(NODE_ID, 36_875);

  it.each([
    [
      'its output is a log that was renamed',
      { files: { [`${FOLDER}/raylet.out.1`]: OWN_START }, output: `${FOLDER}/raylet.out.1` },
    ],
    [
      'its error output is the log',
      { files: { [`${FOLDER}/odd.err`]: OWN_START }, error: `${FOLDER}/odd.err` },
    ],
    [
      'its output is /dev/null, and its start is in a rotated log',
      {
        files: { [`${FOLDER}/raylet.out`]: 'noise\n', [`${FOLDER}/raylet.3.out`]: OWN_START },
        output: '/dev/null',
      },
    ],
    [
      'its output is a pipe, and logrotate has moved the log',
      { files: { [`${FOLDER}/raylet.out.1`]: OWN_START }, output: 'pipe:[4711]' },
    ],
    [
      'there are several logs of starts before it',
      {
        files: {
          [`${FOLDER}/raylet.out`]: OLD_START,
          [`${FOLDER}/raylet.1.out`]: logLine(OTHER_NODE_ID, 36_002),
          [`${FOLDER}/raylet.2.out`]: OWN_START,
        },
      },
    ],
    [
      'the option names the log of a start before it',
      {
        options: { stdout_filepath: `${FOLDER}/raylet.out` },
        files: { [`${FOLDER}/raylet.out`]: OLD_START, [`${FOLDER}/raylet.1.out`]: OWN_START },
      },
    ],
    [
      'its start stands behind others in one log',
      { files: { [`${FOLDER}/raylet.out`]: OLD_START + OWN_START } },
    ],
  ] as const satisfies [string, LogPlaces][])(
    'takes a random port from its log where %s',
    async (_title, places: LogPlaces) => {
      await addRandomRaylet(6316, places);
      expect(await findRaylets({ proc, trust })).toMatchObject([
        { isProven: true, objectManagerPort: 36_875, how: 'log' },
      ]);
    },
  );

  it.each([
    ['no log is there', {}],
    ['the only log is of a start before it', { files: { [`${FOLDER}/raylet.out`]: OLD_START } }],
    [
      'the log names a port at which nobody listens',
      { files: { [`${FOLDER}/raylet.out`]: logLine(NODE_ID, 36_999) } },
    ],
    ['the log is no file', { output: '/dev/null' }],
  ] as const satisfies [string, LogPlaces][])(
    'tells every port at which a raylet listens where %s',
    async (_title, places: LogPlaces) => {
      await addRandomRaylet(6316, places);
      const [raylet] = await findRaylets({ proc, trust });
      expect(raylet).toMatchObject({ isProven: true, listeningPorts: [36_875, 39_629] });
      expect(raylet?.objectManagerPort).toBeUndefined();
    },
  );

  it('knows the object manager as the other port of a raylet whose node manager is known', async () => {
    await addRandomRaylet(6316, { options: { node_manager_port: '39629' } });
    expect(await findRaylet({ proc, trust })).toMatchObject({
      objectManagerPort: 36_875,
      nodeManagerPort: 39_629,
      how: 'listening',
    });
  });

  it('tells two raylets of one session apart by their own logs', async () => {
    const files = { [`${FOLDER}/raylet.out`]: OLD_START + OWN_START };
    await addRandomRaylet(700, { files, options: { node_id: '' }, ports: [36_001, 40_001] });
    await addRandomRaylet(6316, { files, options: { node_id: '' } });
    expect(await findRaylets({ proc, trust })).toMatchObject([
      { pid: 700, objectManagerPort: 36_001 },
      { pid: 6316, objectManagerPort: 36_875 },
    ]);
  });

  it('knows of a raylet that is not proven where it listens itself, and takes nothing else of it', async () => {
    await addRandomRaylet(7, {
      files: { [`${FOLDER}/raylet.out`]: OWN_START },
      ports: [36_875],
      user: STRANGER,
    });
    await addRandomRaylet(8, { ports: [40_001, 40_002], user: STRANGER });
    // Another program of that user listens, too.
    await addFile(
      'self/net/tcp6',
      [36_875, 40_001, 40_002, 50_000].map((port) => listenerLine(port, STRANGER)).join(''),
    );
    const [first, second] = await findRaylets({ proc, trust });
    expect(first).toMatchObject({
      isProven: false,
      objectManagerPort: 36_875,
      how: 'listening',
      gcsAddress: '',
    });
    expect(second).toMatchObject({ isProven: false, listeningPorts: [40_001, 40_002] });
    expect(second?.objectManagerPort).toBeUndefined();
  });

  it('looks into so many descriptors of raylets that are not proven, and of each user into a part of these', async () => {
    const at = async (pid: number, user: number, descriptors: number): Promise<void> => {
      await addRandomRaylet(pid, { ports: [20_000 + pid], user });
      const status = await readFile(join(proc, `${pid}/status`), 'utf8');
      await addFile(`${pid}/status`, `${status}FDSize:\t${descriptors}\n`);
    };
    await at(1, STRANGER, 8192);
    await at(2, STRANGER, 64);
    await at(3, 60_000, 1_048_576);
    await at(4, 60_001, 4096);
    await at(5, 60_002, 4096);
    await at(6, 60_003, 64);
    const tables = await Promise.all(
      [1, 2, 3, 4, 5, 6].map((pid) => readFile(join(proc, `${pid}/net/tcp6`), 'utf8')),
    );
    await addFile('self/net/tcp6', tables.join(''));
    const ports = (await findRaylets({ proc, trust })).map(({ objectManagerPort }) => objectManagerPort);
    expect(ports).toEqual([20_001, undefined, undefined, 20_004, 20_005, undefined]);
  });

  it('finds the port that it begins to listen at later', async () => {
    await addRandomRaylet(6316, { files: { [`${FOLDER}/raylet.out`]: OWN_START }, ports: [] });
    expect((await findRaylet({ proc, trust }))?.objectManagerPort).toBeUndefined();
    await addLink('6316/fd/9', 'socket:[36875]');
    await addFile('6316/net/tcp6', listenerLine(36_875));
    expect(await findRaylet({ proc, trust })).toMatchObject({ objectManagerPort: 36_875, how: 'log' });
  });

  it('takes no port that only this machine reaches for the object manager', async () => {
    await addRandomRaylet(6316, { options: { node_manager_port: '39629' } });
    await addLink('6316/fd/30', 'socket:[44444]');
    const loopback = listenerLine(44_444).replace('0'.repeat(32), '0000000000000000FFFF00000100007F');
    await addFile('6316/net/tcp6', [36_875, 39_629].map((port) => listenerLine(port)).join('') + loopback);
    expect(await findRaylet({ proc, trust })).toMatchObject({ objectManagerPort: 36_875 });
  });

  interface LogPlaces {
    readonly options?: Readonly<Record<string, string>>;
    readonly files?: Readonly<Record<string, string>>;
    readonly output?: string;
    readonly error?: string;
    readonly ports?: readonly number[];
    readonly user?: number;
  }

  /** A raylet with random ports that listens at both of them, and its logs as it sees them. */
  async function addRandomRaylet(
    pid: number,
    { options = {}, files = {}, output, error, ports = [36_875, 39_629], user = USER }: LogPlaces,
  ): Promise<void> {
    await addProcess(pid, rayletArgv({ ...RANDOM_PORTS, ...options }), { listensOn: [], user });
    for (const [index, port] of ports.entries()) await addLink(`${pid}/fd/${index + 10}`, `socket:[${port}]`);
    await addFile(`${pid}/net/tcp6`, ports.map((port) => listenerLine(port, user)).join(''));
    for (const [path, text] of Object.entries(files)) await addFile(`${pid}/root${path}`, text);
    if (output !== undefined) await addLink(`${pid}/fd/1`, output);
    if (error !== undefined) await addLink(`${pid}/fd/2`, error);
  }

  it('finds the line at the end of a log that is longer than what is read', async () => {
    await addProcess(6316, rayletArgv({ object_manager_port: '0' }));
    const noise = '[2026-11-23 09:39:02,000 I 6316 6316] noise\n'.repeat(20_000);
    await addFile(`6316/root${SESSION}/logs/raylet.out`, `${noise}${logLine(NODE_ID, 36_875)}`);
    expect(await findRaylet({ proc, trust })).toMatchObject({ objectManagerPort: 36_875, how: 'log' });
  });

  it('leaves the port open where neither tells it', async () => {
    await addProcess(6316, rayletArgv({ object_manager_port: '0', node_manager_port: '0' }));
    expect(await findRaylet({ proc, trust })).toMatchObject({
      objectManagerPort: undefined,
      nodeManagerPort: undefined,
      how: 'argv',
    });
  });

  it('asks a process that is none twice, and again within twelve searches where it runs another program', async () => {
    const others = new OtherProcesses(proc);
    const pids = async (): Promise<number[]> =>
      (await findRaylets({ proc, others, trust })).map(({ pid }) => pid);
    const become = (pid: number): Promise<void> => addFile(`${pid}/cmdline`, `${rayletArgv().join('\0')}\0`);
    const statOf = (pid: number, name: string, argumentsStart: number): Promise<void> =>
      addFile(
        `${pid}/stat`,
        `${pid} (${name}) S 1 ${'0 '.repeat(17)}${pid} ${'0 '.repeat(25)}${argumentsStart} 0\n`,
      );
    await addProcess(50, ['python', 'forked and about to be a raylet']);
    for (const pid of [60, 61, 62]) {
      await addProcess(pid, ['python', 'train.py']);
      await statOf(pid, 'python', 4096);
    }
    await addProcess(70, rayletArgv(), { listensOn: [] });
    expect(await pids()).toEqual([]);
    await become(50);
    await addProcess(80, rayletArgv());
    expect(await pids()).toEqual([50, 80]);
    for (const pid of [60, 61, 62]) await become(pid);
    // One that has the name and does not listen yet is no other process.
    await addLink('70/fd/0', 'socket:[43800]');
    await addFile('70/net/tcp6', listenerLine(43_800));
    expect(await pids()).toEqual([50, 70, 80]);
    // By its name, and where it had that name already, by the place of its arguments.
    await statOf(60, 'raylet', 4096);
    await statOf(61, 'python', 8192);
    for (let search = 1; search < 12; search++) await pids();
    expect(await pids()).toEqual([50, 60, 61, 70, 80]);
    // What a program writes over its arguments is a hint at most, and nothing that is searched for as often.
    for (let search = 0; search < 12 * 120; search++) others.toAsk([60, 61, 62]);
    expect(await pids()).toContain(62);
  });

  it('asks for no process but for new ones, however many there are', async () => {
    const others = new OtherProcesses(proc);
    const all = Array.from({ length: 2000 }, (_, index) => index + 1);
    for (let look = 0; look < 2; look++) for (const pid of others.toAsk(all)) others.note(pid);
    let asked = 0;
    for (let search = 0; search < 12; search++) asked += others.toAsk(all).length;
    expect(asked).toBe(0);
    expect(others.toAsk([...all, 5000])).toEqual([5000]);
  });

  it('asks a process that has the number of one that is gone', async () => {
    const others = new OtherProcesses(proc);
    await addProcess(50, ['python']);
    for (let look = 0; look < 3; look++) await findRaylets({ proc, others, trust });
    await rm(join(proc, '50'), { recursive: true });
    await findRaylets({ proc, others, trust });
    await addProcess(50, rayletArgv());
    expect(await findRaylets({ proc, others, trust })).toHaveLength(1);
  });

  it('returns every raylet of a node, by process id, and none of another network namespace', async () => {
    await addProcess(700, rayletArgv({ node_id: OTHER_NODE_ID, object_manager_port: '45019' }));
    await addProcess(61, rayletArgv());
    await addProcess(99, rayletArgv(), { namespace: 4_026_532_000 });
    const raylets = await findRaylets({ proc, trust });
    expect(raylets.map(({ pid, objectManagerPort }) => [pid, objectManagerPort])).toEqual([
      [61, 43_800],
      [700, 45_019],
    ]);
  });

  it('is not misled by other programs that name a raylet', async () => {
    await addProcess(1, ['/bin/sh', '-c', rayletArgv().join(' ')]);
    await addProcess(2, ['/usr/bin/python3', ...rayletArgv()]);
    await addProcess(3, ['raylet']);
    await addProcess(4, ['']);
    await addFile('5/status', 'Name:\traylet\n');
    expect(await findRaylets({ proc, trust })).toEqual([]);
    expect(await findRaylet({ proc, trust })).toBeUndefined();
  });

  it.each([
    ['runs another file', { file: '/tmp/raylet' }],
    ['runs another file, and has lost it', { file: '/tmp/raylet (deleted)' }],
    ['does not listen where it says', { listensOn: [36_875] }],
  ])('does not believe the command line of a process that %s', async (_title, process) => {
    await addProcess(6316, rayletArgv(), process);
    expect(await findRaylets({ proc, trust })).toEqual([]);
  });

  it("knows Ray's file after an upgrade has replaced it", async () => {
    // The kernel's link still leads to the file; the test's leads to one of that name.
    await addFile(`${RAYLET_FILE} (deleted)`, 'the program');
    await addProcess(6316, rayletArgv(), { file: `${rayletFile} (deleted)` });
    expect(await findRaylet({ proc, trust })).toMatchObject({ isProven: true });
  });

  it('does not believe a raylet of which nothing can be seen; a proven raylet comes first', async () => {
    await addProcess(6316, rayletArgv(), { file: HIDDEN });
    expect(await findRaylet({ proc, trust })).toMatchObject({
      objectManagerPort: 43_800,
      isProven: false,
      doubt: 'hidden',
      gcsAddress: '',
    });
    await addProcess(6317, rayletArgv());
    expect(await findRaylet({ proc, trust })).toMatchObject({ pid: 6317, isProven: true });
  });

  it("takes the kernel's word for the sockets of a user whom the operator names, where the file is hidden", async () => {
    await addProcess(6316, rayletArgv(), { file: HIDDEN });
    const named = { ...trust, isUserNamed: true };
    expect(await findRaylet({ proc, trust: named })).toMatchObject({ isProven: true, how: 'argv' });
    expect(await findRaylet({ proc, trust: { ...named, executable: '/opt/ray/raylet' } })).toMatchObject({
      isProven: false,
    });
  });

  it.each([
    ['of another user', (): object => ({ user: STRANGER }), 'user'],
    ['of another user, and started before', (): object => ({ user: STRANGER, startTicks: 1 }), 'user'],
    ['of another user, and its file is hidden', (): object => ({ user: STRANGER, file: HIDDEN }), 'user'],
  ])('believes nothing but its port of a raylet %s', async (_title, process, doubt) => {
    const claims = { node_ip_address: '10.9.9.9', 'gcs-address': '10.9.9.9:6379', 'cluster-id': NODE_ID };
    await addProcess(7, rayletArgv({ ...claims, object_manager_port: '45019' }), process());
    await addProcess(6316, rayletArgv());
    const [first, second] = await findRaylets({ proc, trust });
    expect(first).toMatchObject({ pid: 6316, isProven: true });
    expect(second).toMatchObject({ pid: 7, isProven: false, doubt, objectManagerPort: 45_019 });
    expect(second).toMatchObject({ gcsAddress: '', nodeId: '' });
    expect(second).not.toHaveProperty('clusterId');
  });

  it('does not take it for a node without Ray where the processes of others are hidden', async () => {
    await addFile(
      'self/mounts',
      'sysfs /sys sysfs rw 0 0\nproc /proc proc rw,nosuid,hidepid=invisible 0 0\n',
    );
    await expect(findRaylets({ proc, trust })).rejects.toThrow('hidepid');
    // Those of its own user are seen.
    await addProcess(6316, rayletArgv());
    expect(await findRaylets({ proc, trust })).toHaveLength(1);
    await rm(join(proc, '6316'), { recursive: true });
    await addFile('1/status', 'Name:\tinit\n');
    expect(await findRaylets({ proc, trust })).toEqual([]);
  });

  it('does not believe a hidden program that anybody may start and that has become root, as sudo does', async () => {
    await addProcess(7, rayletArgv(), { user: 0, group: STRANGER, file: HIDDEN });
    const named = { users: new Set([0]), isUserNamed: true };
    expect(await findRaylets({ proc, trust: named })).toMatchObject([{ isProven: false, doubt: 'hidden' }]);
    await addProcess(8, rayletArgv(), { user: 0, file: HIDDEN });
    expect(await findRaylet({ proc, trust: named })).toMatchObject({ pid: 8, isProven: true });
  });

  it("does not believe the command line of somebody who runs a program with another user's rights (setuid)", async () => {
    await addProcess(7, rayletArgv(), { realUser: STRANGER, file: HIDDEN });
    expect(await findRaylets({ proc, trust: { ...trust, isUserNamed: true } })).toMatchObject([
      { pid: 7, isProven: false, doubt: 'user', gcsAddress: '' },
    ]);
  });

  it('does not even believe the port of another user, unless that user listens there', async () => {
    await addProcess(7, rayletArgv({ object_manager_port: '22' }), { user: STRANGER });
    await addFile('7/net/tcp6', listenerLine(22, 0) + listenerLine(39_629, STRANGER));
    expect(await findRaylets({ proc, trust })).toMatchObject([
      { pid: 7, isProven: false, objectManagerPort: undefined, nodeManagerPort: 39_629 },
    ]);
  });

  it('does not believe a file that others may change, or that is not the one of the settings', async () => {
    await addProcess(6316, rayletArgv());
    await chmod(rayletFile, 0o757);
    expect(await findRaylet({ proc, trust })).toMatchObject({ isProven: false, doubt: 'file' });
    await chmod(rayletFile, 0o755);
    await symlink('/', join(proc, '6316/root'));
    await chmod(dirname(rayletFile), 0o777);
    expect(await findRaylet({ proc, trust })).toMatchObject({ isProven: false, doubt: 'file' });
    await chmod(dirname(rayletFile), 0o755);
    expect(await findRaylet({ proc, trust })).toMatchObject({ isProven: true });
    await addFile('elsewhere/ray/core/src/ray/raylet/raylet', 'the program');
    const executable = join(proc, 'elsewhere/ray/core/src/ray/raylet/raylet');
    expect(await findRaylets({ proc, trust: { ...trust, executable } })).toEqual([]);
    expect(await findRaylet({ proc, trust: { ...trust, executable: rayletFile } })).toMatchObject({
      isProven: true,
    });
  });

  it('counts no namespace as its own that it cannot compare', async () => {
    await addProcess(6316, rayletArgv());
    await rm(join(proc, '6316/ns/net'));
    expect(await findRaylets({ proc, trust })).toEqual([]);
    // The table of sockets tells the namespace, too, and everybody may see it.
    await addFile('self/net/tcp', '');
    await addFile('6316/net/tcp', '');
    expect(await findRaylets({ proc, trust })).toEqual([]);
    await rm(join(proc, '6316/net/tcp'));
    await link(join(proc, 'self/net/tcp'), join(proc, '6316/net/tcp'));
    expect(await findRaylets({ proc, trust })).toHaveLength(1);
  });

  it('looks at 64 programs of users who are not trusted, and at all of those who are', async () => {
    for (let pid = 1; pid <= 80; pid++) await addProcess(pid, rayletArgv(), { user: STRANGER });
    await addProcess(6316, rayletArgv());
    const raylets = await findRaylets({ proc, trust });
    expect(raylets).toHaveLength(65);
    expect(raylets[0]).toMatchObject({ pid: 6316, isProven: true });
  });

  it('reads the sockets of the namespace once for all programs that are not trusted', async () => {
    await addFile('self/net/tcp6', listenerLine(45_019, STRANGER));
    for (let pid = 1; pid <= 3; pid++) {
      await addProcess(pid, rayletArgv({ object_manager_port: '45019' }), { user: STRANGER });
      // A table of its own would say otherwise: it is not looked at.
      await rm(join(proc, `${pid}/net`), { recursive: true });
    }
    const raylets = await findRaylets({ proc, trust });
    expect(raylets.map(({ objectManagerPort }) => objectManagerPort)).toEqual([45_019, 45_019, 45_019]);
  });

  it('looks into no program of a user who is not trusted for whose connection it is', async () => {
    await addProcess(7, rayletArgv(), { user: STRANGER });
    expect(await rayletAt(7, { proc, trust })).toBeUndefined();
    expect(await rayletAt(7, { proc, trust: { users: new Set([STRANGER]) } })).toMatchObject({ pid: 7 });
  });

  it('is not held up by a command line or a log that is no file', async () => {
    await addProcess(6316, rayletArgv({ object_manager_port: '0', node_manager_port: '0' }));
    await mkdir(join(proc, `6316/root${SESSION}/logs`), { recursive: true });
    await promisify(execFile)('mkfifo', [join(proc, `6316/root${SESSION}/logs/raylet.out`)]);
    await addProcess(7, rayletArgv());
    await rm(join(proc, '7/cmdline'));
    await promisify(execFile)('mkfifo', [join(proc, '7/cmdline')]);
    expect(await findRaylets({ proc, trust })).toMatchObject([{ pid: 6316, objectManagerPort: undefined }]);
  });

  it('takes nothing of a form that it does not know', async () => {
    const argv = rayletArgv({
      object_manager_port: '99999',
      node_manager_port: '1e3',
      node_id: '../../etc',
      node_ip_address: 'nonsense',
      'gcs-address': 'a b',
    });
    await addProcess(6316, argv);
    expect(await findRaylets({ proc, trust })).toEqual([
      {
        pid: 6316,
        startTicks: 6316,
        userId: USER,
        executable: rayletFile,
        isProven: true,
        nodeId: '',
        nodeAddress: '',
        gcsAddress: '',
        objectManagerPort: undefined,
        nodeManagerPort: undefined,
        how: 'argv',
      },
    ]);
  });

  it('finds nothing where there is no /proc', async () => {
    expect(await findRaylets({ proc: join(proc, 'none') })).toEqual([]);
  });

  it.skipIf(!existsSync(VERSIONS)).each(recordedVersions())(
    'finds the random port of a recorded raylet, also without its log: %s (needs ../shared)',
    async (name) => {
      const recorded = JSON.parse(await readFile(join(VERSIONS, name), 'utf8')) as RecordedRaylet;
      const [, port] = /object_manager address: \S*:(\d+)/.exec(recorded.logLine) ?? [];
      const objectManager = Number(port);
      await addProcess(6316, recorded.argv, { listensOn: [objectManager, 33_333] });
      expect(await findRaylets({ proc, trust })).toMatchObject([{ listeningPorts: [objectManager, 33_333] }]);
      const session = recorded.argv.find((option) => option.startsWith('--session_dir='))?.slice(14) ?? '';
      await addFile(`6316/root${session}/logs/raylet.out`, OLD_START);
      await addFile(`6316/root${session}/logs/raylet.1.out`, `${recorded.logLine}\n`);
      expect(await findRaylets({ proc, trust })).toMatchObject([
        { isProven: true, objectManagerPort: objectManager, nodeManagerPort: 33_333, how: 'log' },
      ]);
    },
  );

  it.skipIf(!existsSync(SAMPLES)).each([
    ['head', 5881, '10.77.0.10'],
    ['w1', 6316, '10.77.0.11'],
    ['w2', 6698, '10.77.0.12'],
  ])('finds the raylet of %s among all of its processes (needs ../shared)', async (host, pid, address) => {
    const text = await readFile(join(SAMPLES, `cmdline-${host}.json`), 'utf8');
    const processes = JSON.parse(text) as { pid: number; argv: string[] }[];
    for (const { pid, argv } of processes) await addProcess(pid, argv);
    expect(await findRaylets({ proc, trust })).toMatchObject([
      { pid, nodeAddress: address, gcsAddress: '10.77.0.10:6379', objectManagerPort: 43_800, how: 'argv' },
    ]);
  });
});

describe.skipIf(process.getuid?.() !== 0)(
  "a real process that is Ray's by its file (needs root, setpriv)",
  () => {
    let folder = '';
    let child: ChildProcess;
    let port = 0;
    let compiled: Awaited<ReturnType<typeof compile>>;

    beforeAll(async () => {
      compiled = await compile('agent/ray/raylet.ts');
    });
    afterAll(() => compiled.remove());

    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), 'plasmawatch-raylet-'));
      const file = join(folder, 'ray/core/src/ray/raylet/raylet');
      await mkdir(dirname(file), { recursive: true });
      await copyFile(process.execPath, file);
      port = await freePort();
      const options = [
        `--object_manager_port=${port}`,
        '--node_manager_port=1',
        '--node_ip_address=10.77.0.11',
      ];
      child = spawn(file, ['-e', LISTENER, '--', String(port), ...options], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      await once(child.stdout ?? child, 'data');
    });
    afterEach(async () => {
      child.stdin?.end();
      await once(child, 'exit');
      await rm(folder, { recursive: true });
    });

    it('has its port in a log that it has open, whose name is gone', async () => {
      const log = join(folder, 'raylet.out');
      const output = await open(log, 'w');
      await output.write(logLine(NODE_ID, port));
      const options = ['--object_manager_port=0', '--node_manager_port=0', '--node_ip_address=10.77.0.11'];
      const other = spawn(
        join(folder, 'ray/core/src/ray/raylet/raylet'),
        ['-e', LISTENER, '--', '0', ...options],
        { stdio: ['pipe', 'pipe', output.fd] },
      );
      await once(other.stdout ?? other, 'data');
      await output.truncate();
      const found = (await findRaylets()).find(({ pid }) => pid === other.pid);
      const [listening] = found?.listeningPorts ?? [];
      await output.write(logLine(NODE_ID, listening ?? 0), 0);
      await output.close();
      await rm(log);
      const raylets = (await findRaylets()).filter(({ pid }) => pid === other.pid);
      other.stdin?.end();
      await once(other, 'exit');
      expect(raylets).toMatchObject([{ objectManagerPort: listening, how: 'log', isProven: true }]);
    });

    it('is proven to whoever may look', async () => {
      expect((await findRaylets()).filter(({ pid }) => pid === child.pid)).toMatchObject([
        { objectManagerPort: port, isProven: true, userId: 0 },
      ]);
    });

    it.each([
      ['without privileges', '-all', false],
      ['without privileges, where the settings name its user', '-all', true, 'new Set([0])'],
      ['with CAP_SYS_PTRACE alone', '-all,+sys_ptrace', false],
      ['with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH', '-all,+sys_ptrace,+dac_read_search', true],
    ])('is found by another user %s', async (_title, capabilities, isProven, users = '') => {
      const look = `
      import { rayletAt } from '${compiled.folder}/agent/ray/raylet.js';
      const options = ${users === '' ? '{}' : `{ trust: { users: ${users}, isUserNamed: true } }`};
      console.log(JSON.stringify(await rayletAt(${child.pid}, options)));`;
      const user = ['--reuid=65534', '--regid=65534', '--clear-groups'];
      const granted = [`--inh-caps=${capabilities}`, `--ambient-caps=${capabilities}`];
      const program = [process.execPath, '--input-type=module', '-e', look];
      const { stdout } = await promisify(execFile)('setpriv', [...user, ...granted, ...program]);
      expect(JSON.parse(stdout)).toMatchObject({ objectManagerPort: port, isProven });
    });
  },
);

/** Listens on the port of its first argument, and ends with its standard input. */
const LISTENER = `
  require('node:net').createServer().listen(Number(process.argv[1]), () => console.log('listening'));
  process.stdin.on('end', () => process.exit(0)).resume();`;

describe('parseRayletLog', () => {
  it('reads both ports of the node, over IPv6 too', () => {
    expect(parseRayletLog(logLine(NODE_ID, 36_875, '[fd77::11]'), NODE_ID)).toEqual({
      objectManagerPort: 36_875,
      nodeManagerPort: 39_629,
    });
  });

  it.each([
    ['another node', logLine(OTHER_NODE_ID, 36_875)],
    ['a port out of range', logLine(NODE_ID, 99_999)],
    ['port 0', logLine(NODE_ID, 0)],
    ['other lines', 'object_manager address: 10.77.0.11:36875\n'],
    ['nothing', ''],
  ])('finds no ports in %s', (_title, text) => {
    expect(parseRayletLog(text, NODE_ID)).toBeUndefined();
  });
});
