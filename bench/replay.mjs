/**
 * How much CPU time `plasmawatch flows` needs for a packet, beside other tools that make flows of a capture.
 *
 *     npm run build && node bench/replay.mjs [--runs 5] [--packets 2000000] [--flows 50000] [--order mixed|rounds|runs]
 *         [--check] [--captures FOLDER]
 *
 * The CPU time is user and system of the whole process, start included. Every tool runs once a round, so that what else
 * the machine does meets all of them; the median of the rounds counts. Trust the ratios, not the numbers. A tool that is
 * not on PATH is named and left out; `bash` and GNU `time` must be there. With --check the status is 1 when a target of
 * docs/benchmarks.md is missed.
 *
 * `plasmawatch replay` reads the same capture, with one rule that allows all of it. `--captures FOLDER` has it and `flows` read all pcap
 * files of a folder as well, one after the other.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { PORT, writeCapture } from './recording.mjs';

// Node reads the certificates that it names at every start, 40 ms of them on some machines: they are no tool's.
delete process.env.NODE_EXTRA_CA_CERTS;

const PACKET_BYTES = 90;
const MAIN = fileURLToPath(new URL('../dist/cli/main.cjs', import.meta.url));
const LOOP = fileURLToPath(new URL('pcap-parser-flows.mjs', import.meta.url));
const OURS = 'plasmawatch flows --json';

/** Ours may need so many times what another needs, at most; and so many MB of memory. */
const TARGETS = [
  { other: 'softflowd', ratio: 1 },
  { other: 'nfpcapd', ratio: 1 },
  { other: 'tcpdump with a filter', ratio: 2.5 },
  { other: 'pcap-parser loop', ratio: 0.5 },
];
const MAX_MEMORY_MB = 150;

/** All that the capture has is allowed. */
const RULES = `version: 1
groups: { cluster: { cidr: [10.0.0.0/8] } }
allow: [{ name: all, from: cluster, to: object-manager }]
`;

const { values: options } = parseArgs({
  options: {
    runs: { type: 'string', default: '5' },
    packets: { type: 'string', default: '2000000' },
    flows: { type: 'string', default: '50000' },
    order: { type: 'string', default: 'rounds' },
    check: { type: 'boolean', default: false },
    captures: { type: 'string' },
  },
});
const shape = {
  packets: Number(options.packets),
  flows: Number(options.flows),
  packetBytes: PACKET_BYTES,
  order: options.order,
};

const folder = mkdtempSync(join(tmpdir(), 'plasmawatch-bench-'));
try {
  const capture = join(folder, 'bench.pcap');
  writeCapture(capture, shape);
  const rules = join(folder, 'rules.yaml');
  writeFileSync(rules, RULES);
  const tools = toolsFor(capture, rules).filter(isThere);
  const runs = new Map(tools.map(({ name }) => [name, []]));
  const said = new Map(tools.map((tool) => [tool.name, whatItSays(tool)]));
  for (let round = 0; round < Number(options.runs); round++) {
    for (const tool of tools) runs.get(tool.name).push(measure(tool));
  }
  const results = tools.map((tool) => resultOf(tool.name, runs.get(tool.name), said.get(tool.name)));
  report(results);
  if (options.captures !== undefined) compareOn(capturesIn(options.captures), rules);
  const problems = [...disagreements(results), ...(options.check ? missedTargets(results) : [])];
  for (const problem of problems) console.log(problem);
  process.exitCode = problems.length === 0 ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true });
}

/** The tools: a command each, and what it says of the capture, where it says something. */
function toolsFor(capture, rules) {
  const flowFolder = join(folder, 'nfpcapd');
  mkdirSync(flowFolder);
  return [
    { name: OURS, command: [process.execPath, MAIN, 'flows', '--json', capture], says: countLines },
    {
      name: 'plasmawatch flows --json --port',
      command: [process.execPath, MAIN, 'flows', '--json', '--port', String(PORT), capture],
      says: countLines,
    },
    {
      name: 'plasmawatch replay --json',
      command: replayOf([capture], rules),
      says: (text) => ({ flows: numberAfter(text, /"allowed":(\d+)/) }),
    },
    {
      name: 'softflowd',
      // Its own limit is 8,192 flows.
      command: [
        'softflowd',
        '-r',
        capture,
        '-m',
        String(shape.flows * 2),
        '-d',
        '-c',
        'none',
        '-p',
        join(folder, 'pid'),
      ],
      says: (text) => ({ packets: numberAfter(text, /tcp \(6\):\s+\d+\s+(\d+)/) }),
    },
    {
      name: 'nfpcapd',
      command: ['nfpcapd', '-r', capture, '-w', flowFolder],
      says: (text) => ({ packets: numberAfter(text, /Processed: (\d+)/) }),
    },
    {
      name: 'tcpdump with a filter',
      command: ['tcpdump', '-r', capture, '-w', '/dev/null', `tcp port ${PORT}`],
      says: () => ({}),
    },
    {
      name: 'pcap-parser loop',
      command: [process.execPath, LOOP, capture],
      says: (text) => JSON.parse(text),
    },
    {
      name: 'suricata',
      command: ['suricata', '-r', capture, '-l', folder, '-S', '/dev/null'],
      says: () => ({}),
    },
    { name: 'argus', command: ['argus', '-r', capture, '-w', '/dev/null'], says: () => ({}) },
  ];
}

function replayOf(files, rules) {
  return [process.execPath, MAIN, 'replay', '--json', '--rules', rules, ...files];
}

function capturesIn(place) {
  return readdirSync(place)
    .filter((name) => name.endsWith('.pcap'))
    .toSorted()
    .map((name) => join(place, name));
}

/** What `replay` takes, as a multiple of what `flows` takes on the same files, in turn. */
function compareOn(files, rules) {
  const tools = {
    flows: [process.execPath, MAIN, 'flows', '--json', ...files],
    replay: replayOf(files, rules),
  };
  const runs = { flows: [], replay: [] };
  for (let round = 0; round < Number(options.runs); round++) {
    // Whom the rules do not allow is an anomaly: status 1.
    for (const [name, command] of Object.entries(tools))
      runs[name].push(measure({ name, command, maxStatus: 1 }));
  }
  const [flows, replay] = ['flows', 'replay'].map((name) =>
    median(runs[name].map(({ cpuSeconds }) => cpuSeconds)),
  );
  console.log(
    `${files.length} recorded files: replay ${replay.toFixed(2)} s, flows ${flows.toFixed(2)} s: ${(replay / flows).toFixed(2)}`,
  );
}

function countLines(text) {
  return { flows: text.split('\n').length - 1 };
}

function isThere({ name, command: [program] }) {
  const found = program === process.execPath || spawnSync('which', [program]).status === 0;
  if (!found) console.log(`${name}: not on PATH, left out`);
  return found;
}

/** A run that is not measured: it fills the page cache, and its output is read. */
function whatItSays({ name, command: [program, ...words], says }) {
  const { status, stdout, stderr } = spawnSync(program, words, { encoding: 'utf8', maxBuffer: 2 ** 30 });
  if (status !== 0) throw new Error(`${name} failed with status ${status}: ${stderr}`);
  return says(stdout + stderr);
}

/** One run: CPU time by the shell's own `time`, which has milliseconds; peak memory by GNU time. */
function measure({ name, command, maxStatus = 0 }) {
  const memoryFile = join(folder, 'memory');
  const timeFile = join(folder, 'time');
  const script = `TIMEFORMAT='%3U %3S'; { time command time -f %M -o "$0" "$@" >/dev/null 2>&1; } 2>"${timeFile}"`;
  const { status } = spawnSync('bash', ['-c', script, memoryFile, ...command]);
  if (status === null || status > maxStatus) throw new Error(`${name} failed with status ${status}`);
  const [user, system] = readFileSync(timeFile, 'utf8').trim().split(' ').map(Number);
  return {
    cpuSeconds: user + system,
    // A line about the status comes before it.
    memoryKb: Number(readFileSync(memoryFile, 'utf8').trim().split('\n').at(-1)),
  };
}

function resultOf(name, runs, said) {
  const seconds = median(runs.map(({ cpuSeconds }) => cpuSeconds));
  return {
    name,
    nanoseconds: (seconds * 1e9) / shape.packets,
    memoryMb: Math.max(...runs.map(({ memoryKb }) => memoryKb)) / 1024,
    said,
  };
}

function report(results) {
  const ours = results.find(({ name }) => name === OURS);
  console.log(
    `${shape.packets} packets of ${PACKET_BYTES} bytes in ${shape.flows} flows, order: ${shape.order}`,
  );
  console.table(
    results.map(({ name, nanoseconds, memoryMb, said }) => ({
      tool: name,
      'CPU ns/packet': Math.round(nanoseconds),
      'ours : it': Number((ours.nanoseconds / nanoseconds).toFixed(2)),
      'peak MB': Math.round(memoryMb),
      flows: said.flows ?? '',
      packets: said.packets ?? '',
    })),
  );
}

function disagreements(results) {
  return results.flatMap(({ name, said }) =>
    ['flows', 'packets']
      .filter((what) => said[what] !== undefined && said[what] !== shape[what])
      .map((what) => `${name} says ${said[what]} ${what}, the capture has ${shape[what]}`),
  );
}

function missedTargets(results) {
  const ours = results.find(({ name }) => name === OURS);
  const missed = TARGETS.flatMap(({ other, ratio }) => {
    const found = results.find(({ name }) => name === other);
    if (found === undefined || ours.nanoseconds <= ratio * found.nanoseconds) return [];
    return [
      `missed: ours is ${(ours.nanoseconds / found.nanoseconds).toFixed(2)} of ${other}, the target ${ratio}`,
    ];
  });
  if (ours.memoryMb <= MAX_MEMORY_MB) return missed;
  return [...missed, `missed: ours takes ${Math.round(ours.memoryMb)} MB, the target is ${MAX_MEMORY_MB}`];
}

function numberAfter(text, pattern) {
  const found = pattern.exec(text)?.[1];
  return found === undefined ? undefined : Number(found);
}

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}
