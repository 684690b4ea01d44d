/**
 * What an agent costs while nothing happens that it has to report: a node with thousands of processes and sockets, a
 * dashboard that lists a thousand nodes, and the ordinary traffic of Ray.
 *
 *     npm run build && sudo node bench/idle.mjs [--processes 2000] [--sockets 5000] [--nodes 1000] [--seconds 60]
 *         [--rounds 3] [--growth] [--build before=FOLDER]... [--profile] [--memory MINUTES]
 *
 * The node is a network, process and mount namespace of its own (bench/idle-node.mjs), so that the machine's other processes are
 * not seen; the head is another network namespace. CPU time is utime and stime of the agent by /proc/PID/stat over the
 * seconds of a round, after a warm-up of a minute; medians of the rounds. Beside it, over the same seconds: tcpdump with the same filter,
 * and a Node that does nothing; and once a round `ss -tnp`, which looks for the processes of all sockets.
 *
 * `--growth` measures fewer processes, sockets and nodes, one at a time. `--build` measures another build in the same rounds.
 * `--profile` tells in which files the time of one round is spent. `--memory` samples the memory once a minute.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { HEAD_ADDRESS, NODE_ADDRESS } from './idle-cluster.mjs';

const { values: options } = parseArgs({
  options: {
    processes: { type: 'string', default: '2000' },
    sockets: { type: 'string', default: '5000' },
    nodes: { type: 'string', default: '1000' },
    seconds: { type: 'string', default: '60' },
    rounds: { type: 'string', default: '3' },
    growth: { type: 'boolean', default: false },
    build: { type: 'string', multiple: true, default: [] },
    profile: { type: 'boolean', default: false },
    memory: { type: 'string' },
  },
});
const OURS = fileURLToPath(new URL('..', import.meta.url));
const NODE = `plasmawatch-idle-n${process.pid}`;
const HEAD = `plasmawatch-idle-h${process.pid}`;

const folder = mkdtempSync(join(tmpdir(), 'plasmawatch-idle-'));
const children = [];
try {
  makeNamespaces();
  for (const [index, size] of sizes().entries()) {
    const results = await measure(size, index === 0);
    console.log(`${size.processes} processes, ${size.sockets} sockets, ${size.nodes} nodes:`);
    for (const { title, rows } of results) {
      console.log(title);
      console.table(rows);
    }
  }
} finally {
  for (const child of children) await endChild(child);
  for (const namespace of [NODE, HEAD]) spawnSync('ip', ['netns', 'del', namespace]);
  rmSync(folder, { recursive: true });
}

function sizes() {
  const full = {
    processes: Number(options.processes),
    sockets: Number(options.sockets),
    nodes: Number(options.nodes),
  };
  if (!options.growth) return [full];
  return [
    full,
    { ...full, processes: Math.ceil(full.processes / 10) },
    { ...full, sockets: Math.ceil(full.sockets / 10) },
    { ...full, nodes: Math.ceil(full.nodes / 100) },
  ];
}

/** Lets a node of this size run, with the head of its cluster, and gives what is measured there. */
async function measure(size, hasPeers) {
  const head = start(HEAD, [script('idle-cluster.mjs'), JSON.stringify(size)]);
  await nextLine(head);
  const node = start(
    NODE,
    [
      script('idle-node.mjs'),
      JSON.stringify({
        ...size,
        folder,
        seconds: Number(options.seconds),
        rounds: Number(options.rounds),
        builds: [...options.build.map(namedBuild), { name: 'plasmawatch agent', path: OURS }],
        isProfiled: options.profile,
        hasPeers,
        memoryMinutes: options.memory === undefined ? undefined : Number(options.memory),
      }),
    ],
    // With its own /proc, and everything in it ends with it.
    ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'],
  );
  const results = JSON.parse(await nextLine(node));
  await endChild(node);
  await endChild(head);
  return results;
}

/** `before=FOLDER`: a folder with a built plasmawatch. */
function namedBuild(text) {
  const [name, path] = text.split('=');
  if (path === undefined) throw new Error(`--build ${text}: expected NAME=FOLDER`);
  return { name, path };
}

function script(name) {
  return fileURLToPath(new URL(name, import.meta.url));
}

function start(namespace, words, place = []) {
  const command = ['netns', 'exec', namespace, ...place, process.execPath, ...words];
  const child = spawn('ip', command, { stdio: ['pipe', 'pipe', 'inherit'] });
  children.push(child);
  return child;
}

async function nextLine(child) {
  const ended = once(child, 'exit').then(() => Promise.reject(new Error('a part of the cluster has ended')));
  const lines = createInterface(child.stdout);
  const [line] = await Promise.race([once(lines, 'line'), ended]);
  return line;
}

async function endChild(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  // Each part ends when its input does, and takes what it started with it.
  child.stdin.end();
  await ended;
}

function makeNamespaces() {
  for (const namespace of [NODE, HEAD]) {
    ip('netns', 'add', namespace);
    ip('-n', namespace, 'link', 'set', 'lo', 'up');
  }
  ip('-n', NODE, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', HEAD);
  for (const [namespace, address] of [
    [NODE, NODE_ADDRESS],
    [HEAD, HEAD_ADDRESS],
  ]) {
    ip('-n', namespace, 'addr', 'add', `${address}/16`, 'dev', 'eth0');
    ip('-n', namespace, 'link', 'set', 'eth0', 'up');
  }
}

function ip(...words) {
  execFileSync('ip', words);
}
