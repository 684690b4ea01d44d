/**
 * What capturing costs: our three ways and other tools on the same traffic, in a network namespace made for it.
 *
 *     npm run build && sudo node bench/capture.mjs [--quick] [--runs 3] [--tools kernel,cap] [--loads 'bulk,SYN flood']
 *         [--pcap FOLDER]    where `npm install pcap` was run, for a row with that package
 *
 * Needs root, tcpreplay and iperf3. Other tools are measured when they are on PATH. A tool is started, gets each load
 * once to warm up, and again with other flows while it is measured: medians of the CPU seconds of its process, user and
 * system, with those of the first pass beside them, and of the main process, user alone. "program" is what the kernel itself says of our eBPF program
 * (kernel.bpf_stats_enabled). The machine's noise is in all rows alike: read them as ratios.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { build } from 'rolldown';
import built from '../rolldown.config.mjs';
import {
  bulk,
  FRAME_LENGTH,
  makeData,
  makeLink,
  NEAR,
  pcapOf,
  PORT,
  removeLink,
  replay,
  TCP_ACK,
  TCP_SYN,
} from './live-traffic.mjs';

const FLOWS = 10_000;
const STRANGER = '192.0.2.1';
/** V8 tidies up eight seconds after its start, once: that belongs to no load. */
const NODE_SETTLES_MS = 10_000;
/** Built as the program is, and beside it. */
const CAPTURE_WAY = join(import.meta.dirname, '../dist/bench/capture-way.mjs');
const OURS = ['kernel', 'ring', 'cap', 'npm cap', 'npm pcap'];
const PEERS = {
  tcpdump: (folder) => ['-i', NEAR, '-Z', 'root', '-s', '128', '-w', join(folder, 'out'), `tcp port ${PORT}`],
  softflowd: () => ['-d', '-i', NEAR, '-m', '200000', `tcp port ${PORT}`],
  nfpcapd: (folder) => ['-i', NEAR, '-w', folder, `tcp port ${PORT}`],
  suricata: (folder) => ['-i', NEAR, '-l', folder],
  'netobserv-ebpf-agent': () => [],
};

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    runs: { type: 'string', default: '1' },
    /** Only these, with commas between. */
    loads: { type: 'string' },
    tools: { type: 'string' },
    pcap: { type: 'string' },
  },
});
const folder = mkdtempSync(join(tmpdir(), 'plasmawatch-bench-'));
await build({
  ...built,
  input: join(import.meta.dirname, 'capture-way.mjs'),
  output: Object.assign({}, built.output, {
    dir: join(CAPTURE_WAY, '..'),
    format: 'esm',
    entryFileNames: '[name].mjs',
    chunkFileNames: '[name].mjs',
    cleanDir: false,
  }),
});
spawnSync('sysctl', ['-qw', 'kernel.bpf_stats_enabled=1']);
try {
  makeLink();
  for (const load of loads().filter(({ title }) => isAsked('loads', title))) {
    console.log(`\n${load.title}`);
    const rows = [];
    if (load.isBulk) rows.push({ tool: 'nothing', rate: await load.send(0) });
    for (const tool of tools(load)) rows.push({ tool, ...(await medianOf(() => measure(tool, load))) });
    console.table(rows);
  }
} finally {
  spawnSync('sysctl', ['-qw', 'kernel.bpf_stats_enabled=0']);
  removeLink();
  rmSync(folder, { recursive: true });
}

/** What is sent: `send` takes 0 for the first pass and 1 for the second, which has other flows. */
function loads() {
  const rounds = values.quick ? 12 : 160;
  const frames = [0, 1].map((set) => fileOf(`frames-${set}.pcap`, pcapOf(FLOWS, TCP_ACK, set)));
  const steady = (title, loops, rate) => ({
    title,
    loops,
    send: (pass) => replay(frames[pass], loops, rate),
  });
  const attempts = values.quick ? 100_000 : 1_000_000;
  const flood = pcapOf(attempts, TCP_SYN);
  makeData(flood, attempts / 2, STRANGER);
  return [
    steady('100 k packets/s', rounds / 4, 100_000),
    steady('400 k packets/s', rounds, 400_000),
    { title: 'bulk', isBulk: true, send: () => bulk(values.quick ? 2 : 5) },
    {
      title: 'SYN flood',
      isFlood: true,
      send: (pass) =>
        pass === 0 ? replay(frames[0], 1, 100_000) : replay(fileOf('flood.pcap', flood), 1, 400_000),
    },
  ];
}

function tools({ isFlood, isBulk }) {
  if (isFlood) return ['kernel', 'agent'];
  const ours = OURS.filter((way) => way !== 'npm pcap' || values.pcap !== undefined);
  const peers = Object.keys(PEERS).filter((name) => spawnSync('which', [name]).status === 0);
  return [...ours, ...(isBulk ? ['agent'] : []), ...peers].filter((name) => isAsked('tools', name));
}

function measure(tool, load) {
  if (tool === 'agent') return measureAgent(load);
  return OURS.includes(tool) ? measureOurs(tool, load) : measurePeer(tool, load);
}

async function measureOurs(way, load) {
  const words = [CAPTURE_WAY, way, NEAR, values.pcap ?? ''];
  const child = spawn(process.execPath, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const ask = async (word) => {
    child.stdin.write(`${word}\n`);
    return JSON.parse((await lines.next()).value);
  };
  await lines.next();
  const settled = sleep(NODE_SETTLES_MS);
  const passes = [];
  let rate;
  for (const pass of [0, 1]) {
    if (pass === 1) await settled;
    const before = { ...(await ask('now')), cpu: cpuWithChildren(child.pid) };
    rate = await load.send(pass);
    await sleep(1000);
    const after = { ...(await ask('now')), cpu: cpuWithChildren(child.pid) };
    passes.push({
      cpu: after.cpu - before.cpu,
      user: after.user - before.user,
      program: after.program - before.program,
      frames: after.frames - before.frames,
    });
  }
  const MB = memoryOf(child.pid);
  const exited = once(child, 'exit');
  const { packets, flows, evicted, dropped, counts } = await ask('end');
  await exited;
  const [first, second] = passes;
  const expected = `${load.loops}/${load.loops * FRAME_LENGTH}`;
  return {
    cpu: second.cpu,
    user: second.user,
    firstCpu: first.cpu,
    program: second.program,
    rate,
    exact: load.loops === undefined ? undefined : counts[expected] === 2 * FLOWS,
    handedUp: second.frames,
    packets,
    flows,
    evicted,
    dropped,
    MB,
  };
}

async function measurePeer(name, load) {
  const child = spawn(name, PEERS[name](folder), { stdio: 'ignore' });
  await sleep(1500);
  const passes = [];
  let rate;
  for (const pass of [0, 1]) {
    const before = cpuOf(child.pid);
    rate = await load.send(pass);
    await sleep(1000);
    passes.push(cpuOf(child.pid) - before);
  }
  const MB = memoryOf(child.pid);
  child.kill('SIGTERM');
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  return { cpu: passes[1], firstCpu: passes[0], rate, MB };
}

/** The whole agent, with rules that allow everybody but the stranger. */
async function measureAgent(load) {
  const rules = {
    version: 1,
    services: { 'object-manager': PORT },
    groups: { cluster: { cidr: ['10.0.0.0/8'] } },
    allow: [{ name: 'nodes exchange objects', from: 'cluster', to: 'object-manager' }],
  };
  const token = fileOf('token', 'a-token-for-this-bench');
  chmodSync(token, 0o600);
  const settings = {
    node: 'w1',
    rules: fileOf('rules.yaml', JSON.stringify(rules)),
    collector: { url: 'ws://127.0.0.1:1', tokenFile: token },
    capture: { interface: NEAR },
    spool: { path: join(folder, 'spool.db') },
  };
  const config = fileOf('agent.yaml', JSON.stringify(settings));
  const program = join(import.meta.dirname, '../dist/cli/main.cjs');
  const child = spawn(process.execPath, [program, 'agent', '--json', '--config', config]);
  const ids = new Set();
  let latency;
  let log = '';
  child.stderr.on('data', (chunk) => (log += chunk));
  createInterface(child.stdout).on('line', (line) => {
    const anomaly = JSON.parse(line);
    if (anomaly.flow?.source.ip !== STRANGER) return;
    latency ??= (Date.now() - Date.parse(anomaly.first)) / 1000;
    ids.add(anomaly.id);
  });
  while (!log.includes('"capturing"')) await sleep(20);
  // A flood may find it as it is; how little bulk costs is measured as in the other ways.
  if (load.isBulk) await Promise.all([sleep(NODE_SETTLES_MS), load.send(0)]);
  const before = cpuOf(child.pid);
  const rate = await load.send(1);
  await sleep(2500);
  const cpu = cpuOf(child.pid) - before;
  const MB = memoryOf(child.pid);
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  await exited;
  return { cpu, rate, MB, ...(load.isFlood ? { stranger: `${ids.size} after ${latency} s` } : {}) };
}

async function medianOf(run) {
  const results = [];
  for (let number = 0; number < Number(values.runs); number++) results.push(await run());
  results.sort((one, other) => one.cpu - other.cpu);
  const median = results[Math.floor(results.length / 2)];
  return Object.fromEntries(Object.entries(median).map(([name, value]) => [name, rounded(value)]));
}

/** Seconds on a processor, of all threads (Linux: scheduler/sched-stats.rst). */
function cpuOf(pid) {
  const tasks = readdirSync(`/proc/${pid}/task`);
  const ns = tasks.map((task) =>
    Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]),
  );
  return ns.reduce((sum, one) => sum + one, 0) / 1e9;
}

/** The process of libpcap is a child of ours. */
function cpuWithChildren(pid) {
  const children = spawnSync('pgrep', ['-P', `${pid}`])
    .stdout.toString()
    .split('\n')
    .filter(Boolean);
  return [pid, ...children].reduce((sum, one) => sum + cpuOf(one), 0);
}

/** The most that it was resident, in MB (proc_pid_status(5)). */
function memoryOf(pid) {
  return Math.round(Number(/VmHWM:\s*(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1000);
}

function rounded(value) {
  return typeof value === 'number' ? Math.round(value * 10_000) / 10_000 : value;
}

function isAsked(kind, name) {
  return values[kind] === undefined || values[kind].split(',').includes(name);
}

function fileOf(name, bytes) {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}
