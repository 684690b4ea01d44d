/**
 * The node of bench/idle, in namespaces of its own: Ray's raylet by the name, file, user and sockets that the agent wants to
 * see, processes that are nobody's, sockets of one process, a collector, and the agents that are measured one after the other.
 * The last line on standard output is JSON: the tables.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  endWithParent,
  exchangeObjects,
  GCS_PORT,
  HEAD_ADDRESS,
  NODE_ADDRESS,
  NODE_MANAGER_PORT,
  OBJECT_MANAGER_PORT,
  serveObjects,
} from './idle-cluster.mjs';
import { timeByFunction } from './idle-profile.mjs';

const THIS_FILE = fileURLToPath(import.meta.url);
const COLLECTOR_PORT = 9440;
const TOKEN = 'agent-token-of-this-bench';
/** V8 compiles what comes once a second for a minute. */
const WARM_UP_MS = 60_000;
/** USER_HZ (proc_pid_stat(5)). */
const TICKS_A_SECOND = 100;
/** Descriptors of the raylet besides those of its connections. */
const RAYLET_FILES = 100;

const PEERS = [
  ['tcpdump of the port', 'tcpdump', ['-i', 'any', '-w', '/dev/null', `tcp port ${OBJECT_MANAGER_PORT}`]],
  ['node, doing nothing', process.execPath, ['-e', 'setInterval(() => {}, 1000)']],
];

const PARTS = { raylet, sockets: holdSockets };
const [part] = process.argv.slice(2);
if (PARTS[part] === undefined) await measureAll(JSON.parse(part));
else await PARTS[part](process.argv.slice(3));

function raylet() {
  serveObjects(OBJECT_MANAGER_PORT);
  serveObjects(NODE_MANAGER_PORT);
  exchangeObjects(HEAD_ADDRESS);
  for (let count = 0; count < RAYLET_FILES / 2; count++)
    connect({ host: HEAD_ADDRESS, port: OBJECT_MANAGER_PORT });
  endWithParent();
  console.log('ready');
}

/** So many TCP sockets, each connected to another of them. */
async function holdSockets([count]) {
  const server = createServer(() => {}).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  for (let made = 0; made < Number(count) / 2; made++) {
    const socket = connect({ host: '127.0.0.1', port });
    if (made % 100 === 0) await once(socket, 'connect');
  }
  endWithParent();
  console.log('ready');
}

async function measureAll({ processes, sockets, builds, folder, memoryMinutes, ...round }) {
  endWithParent();
  await startPart(rayletFile(folder), ['raylet', ...rayletOptions()]);
  await startPart(process.execPath, ['sockets', String(sockets)]);
  for (let count = 0; count < processes; count++) spawn('sleep', ['infinity'], { stdio: 'ignore' });
  const collector = await startCollector(folder, builds.at(-1).path);
  const results =
    memoryMinutes === undefined
      ? await measureRounds(builds, folder, round)
      : await sampleMemory(builds.at(-1), folder, memoryMinutes);
  collector.kill();
  console.log(JSON.stringify(results));
}

/** Node under the name of Ray's raylet, at a place where Ray has it. */
function rayletFile(folder) {
  const place = join(folder, 'ray/core/src/ray/raylet');
  mkdirSync(place, { recursive: true, mode: 0o755 });
  copyFileSync(process.execPath, join(place, 'raylet'));
  return join(place, 'raylet');
}

function rayletOptions() {
  const options = {
    object_manager_port: OBJECT_MANAGER_PORT,
    node_manager_port: NODE_MANAGER_PORT,
    node_ip_address: NODE_ADDRESS,
    node_id: '1'.padStart(56, '0'),
    'gcs-address': `${HEAD_ADDRESS}:${GCS_PORT}`,
    'cluster-id': 'c'.repeat(56),
    metrics_export_port: 40_491,
    'metrics-agent-port': 44_467,
    runtime_env_agent_port: 35_223,
    dashboard_agent_command: 'python agent.py --listen-port=52365',
  };
  return Object.entries(options).map(([name, value]) => `--${name}=${value}`);
}

async function startPart(file, words) {
  const child = spawn(file, [THIS_FILE, ...words], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(createInterface(child.stdout), 'line');
}

async function startCollector(folder, build) {
  const path = join(folder, 'collector.yaml');
  writeFileSync(
    path,
    JSON.stringify({
      listen: { host: '127.0.0.1', port: COLLECTOR_PORT },
      store: { path: join(folder, 'collector.db') },
    }),
  );
  const environment = { ...process.env, PLASMAWATCH_AGENT_TOKEN: TOKEN };
  const child = spawn(process.execPath, [join(build, 'dist/cli/main.cjs'), 'collector', '--config', path], {
    stdio: ['ignore', 'ignore', 'ignore'],
    env: environment,
  });
  await sleep(2000);
  return child;
}

/** @param words for Node, before the program */
async function startAgent({ name, path: build }, folder, words = []) {
  const state = join(folder, name.replaceAll(/\W/g, '-'));
  mkdirSync(state, { recursive: true });
  const config = join(state, 'agent.yaml');
  writeFileSync(
    config,
    JSON.stringify({
      node: 'w1',
      collector: { url: `ws://127.0.0.1:${COLLECTOR_PORT}` },
      spool: { path: join(state, 'spool.db') },
      stateFolder: state,
    }),
  );
  const command = [...words, join(build, 'dist/cli/main.cjs'), 'agent', '--config', config];
  const child = spawn(process.execPath, command, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, PLASMAWATCH_AGENT_TOKEN: TOKEN, NODE_EXTRA_CA_CERTS: '' },
  });
  const log = [];
  createInterface(child.stderr).on('line', (line) => log.push(line));
  await sleep(WARM_UP_MS);
  if (child.exitCode !== null || log.length > 50)
    throw new Error(`the agent does not run:\n${log.join('\n')}`);
  const warnings = log.filter((line) => line.includes('WARN') || line.includes('"level":40'));
  if (warnings.length > 0) console.error(`${name} says:\n${warnings.slice(0, 5).join('\n')}`);
  return child;
}

/** Every build in turn, so that what else the machine does meets all of them. */
async function measureRounds(builds, folder, { rounds, seconds, isProfiled, hasPeers }) {
  const runs = new Map();
  const note = (name, cost) => runs.set(name, [...(runs.get(name) ?? []), cost]);
  for (let round = 0; round < rounds; round++) {
    for (const build of builds) {
      const agent = await startAgent(build, folder);
      note(build.name, await costOf(agent.pid, seconds));
      await endChild(agent);
    }
    for (const [name, file, words] of hasPeers ? PEERS : []) {
      const child = spawn(file, words, { stdio: 'ignore' });
      await sleep(3000);
      note(name, await costOf(child.pid, Math.min(seconds, 20)));
      await endChild(child);
    }
    note('ss -tnp, once', costOfCommand('ss', ['-tnp']));
  }
  const tables = [{ title: 'medians', rows: [...runs].map(([name, costs]) => rowOf(name, costs)) }];
  if (!isProfiled) return tables;
  return [
    ...tables,
    { title: 'where the time is spent, ms', rows: await profile(builds.at(-1), folder, seconds) },
  ];
}

/** CPU time of a process over some seconds, in ms: of all threads, and of the first. */
async function costOf(pid, seconds) {
  const before = cpuMs(pid);
  const startMs = performance.now();
  await sleep(seconds * 1000);
  const after = cpuMs(pid);
  const spentMs = performance.now() - startMs;
  const spentByThread = [...after.threads].map(([thread, ms]) => ms - (before.threads.get(thread) ?? 0));
  return {
    percent: ((after.all - before.all) / spentMs) * 100,
    mainPercent: (spentByThread[0] / spentMs) * 100,
    threads: spentByThread.slice(1).map((ms) => ((ms / spentMs) * 100).toFixed(2)),
    residentMb: residentMb(pid),
  };
}

/** Threads in the order of their start: the main one, five of V8's, that of the inspector, and then those of libuv. */
function cpuMs(pid) {
  const threads = readdirSync(`/proc/${pid}/task`).map((id) => [id, nanosecondsOf(pid, id) / 1e6]);
  return { all: ticksOf(`/proc/${pid}/stat`), threads: new Map(threads) };
}

/** Time on a processor, which /proc/PID/task/TID/schedstat has more exactly than ticks (sched-stats.rst). */
function nanosecondsOf(pid, id) {
  return Number(readFileSync(`/proc/${pid}/task/${id}/schedstat`, 'utf8').split(' ')[0]);
}

/** utime and stime, in ms. */
function ticksOf(path) {
  const fields = readFileSync(path, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');
  return ((Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND) * 1000;
}

function residentMb(pid) {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

/** CPU time of a command from its start to its end, in ms, by the shell. */
function costOfCommand(file, words) {
  const script = `TIMEFORMAT='%3U %3S'; time "$0" "$@" >/dev/null`;
  const { stderr } = spawnSync('bash', ['-c', script, file, ...words], { encoding: 'utf8' });
  const [user, system] = stderr.trim().split(' ').map(Number);
  return { ms: (user + system) * 1000 };
}

function rowOf(name, costs) {
  const middle = (what) => median(costs.map((cost) => cost[what]));
  if (costs[0].ms !== undefined) return { what: name, 'CPU ms': Math.round(middle('ms')) };
  const all = costs.map(({ percent }) => percent.toFixed(2));
  return {
    what: name,
    '% of a core': Number(middle('percent').toFixed(2)),
    'of it the main thread': Number(middle('mainPercent').toFixed(2)),
    'each round': all.join(' '),
    'other threads': costs[0].threads.filter((percent) => percent !== '0.00').join(' '),
    'resident MB': Math.round(middle('residentMb')),
  };
}

/** V8 samples every millisecond, from the start on. */
async function profile(build, folder, seconds) {
  const place = join(folder, 'profile');
  const agent = await startAgent(build, folder, [
    '--cpu-prof',
    `--cpu-prof-dir=${place}`,
    '--cpu-prof-interval=1000',
  ]);
  await sleep(seconds * 1000);
  await endChild(agent);
  const [file] = readdirSync(place);
  return timeByFunction(join(place, file), seconds);
}

async function sampleMemory(build, folder, minutes) {
  const agent = await startAgent(build, folder);
  const rows = [];
  for (let minute = 0; minute <= minutes; minute++) {
    if (minute > 0) await sleep(60_000);
    rows.push({ minute, 'resident MB': Number(residentMb(agent.pid).toFixed(1)) });
  }
  await endChild(agent);
  return [{ title: `${build.name}: memory`, rows }];
}

async function endChild(child) {
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
}

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}
