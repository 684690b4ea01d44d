/**
 * What capturing costs: our three ways and other tools on the same traffic, in a network namespace made for it.
 *
 *     npm run build && sudo node bench/live.mjs [--quick] [--tools kernel,cap] [--loads 'bulk,SYN flood']
 *
 * Needs root, tcpreplay and iperf3. Other tools (tcpdump, softflowd, nfpcapd, suricata) are measured when they are on
 * PATH. CPU is of the tool's process, user and system, in seconds; "program" is what the kernel itself says of our eBPF
 * program (kernel.bpf_stats_enabled). The machine's noise is in all rows of a column alike: read them as ratios.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const PORT = 43_800;
const FLOWS = 10_000;
const PAYLOAD = 36;
const FRAME_LENGTH = 14 + 40 + PAYLOAD;
const NAMESPACE = `plasmawatch-bench-${process.pid}`;
const NEAR = `pwb${process.pid}`.slice(0, 15);
const NEAR_ADDRESS = '198.18.200.1';
const FAR_ADDRESS = '198.18.200.2';
/** Linux reports CPU time in these units (proc_pid_stat(5), USER_HZ). */
const TICKS_A_SECOND = 100;
const OURS = ['kernel', 'ring', 'cap'];
const PEERS = [
  ['tcpdump', (file) => ['-i', NEAR, '-Z', 'root', '-s', '128', '-w', file, 'tcp', 'port', `${PORT}`]],
  ['softflowd', () => ['-d', '-i', NEAR, '-m', '200000', `tcp port ${PORT}`]],
  ['nfpcapd', (_file, folder) => ['-i', NEAR, '-w', folder, `tcp port ${PORT}`]],
  ['suricata', (_file, folder) => ['-i', NEAR, '-l', folder, '--set', 'outputs.0.fast.enabled=no']],
];

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    /** Only these, and only this load; several with commas between. */
    loads: { type: 'string' },
    tools: { type: 'string' },
    child: { type: 'string' },
    device: { type: 'string', default: '' },
  },
});
if (values.child === undefined) await compare(values.quick);
else await captureAs(values.child, values.device);

/** The parent: traffic and table. */
async function compare(isQuick) {
  const rounds = isQuick ? 12 : 160;
  const folder = mkdtempSync(join(tmpdir(), 'plasmawatch-bench-'));
  const frames = join(folder, 'frames.pcap');
  const flood = join(folder, 'flood.pcap');
  writeFileSync(frames, pcapOf(FLOWS, 0x10));
  spawnSync('sysctl', ['-qw', 'kernel.bpf_stats_enabled=1']);
  try {
    makeLink();
    const loads = [
      ['100 k packets/s', () => replay(frames, rounds / 4, 100_000), rounds / 4],
      ['400 k packets/s', () => replay(frames, rounds, 400_000), rounds],
      ['bulk', () => bulk(isQuick ? 2 : 5), undefined],
    ];
    for (const [title, send, loops] of loads) {
      if (values.loads !== undefined && !values.loads.split(',').includes(title)) continue;
      console.log('');
      console.log(title);
      const rows = [];
      rows.push({ tool: 'nothing', ...(await measure(undefined, send)) });
      for (const way of OURS.filter(isAsked))
        rows.push({ tool: way, ...(await measureOurs(way, send, loops)) });
      for (const [name, args] of PEERS) {
        if (!isAsked(name) || spawnSync('which', [name]).status !== 0) continue;
        const words = args(join(folder, 'out.pcap'), folder);
        rows.push({ tool: name, ...(await measure([name, words], send)) });
      }
      console.table(rows);
    }
    if (values.loads?.split(',').includes('SYN flood') === false) return;
    const attempts = isQuick ? 100_000 : 1_000_000;
    writeFileSync(flood, pcapOf(attempts, 0x02));
    console.log(`\nSYN flood of ${attempts} connections`);
    console.table([
      { tool: 'kernel', ...(await measureOurs('kernel', () => replay(flood, 1, 400_000), undefined)) },
    ]);
  } finally {
    spawnSync('sysctl', ['-qw', 'kernel.bpf_stats_enabled=0']);
    spawnSync('ip', ['link', 'del', NEAR]);
    spawnSync('ip', ['netns', 'del', NAMESPACE]);
    rmSync(folder, { recursive: true });
  }
}

function isAsked(tool) {
  return values.tools === undefined || values.tools.split(',').includes(tool);
}

async function measureOurs(way, send, loops) {
  const words = [import.meta.filename, '--child', way, '--device', NEAR];
  const child = spawn(process.execPath, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.on('data', (chunk) => (said += chunk));
  while (!said.includes('ready')) await sleep(20);
  const before = cpuOf(child.pid);
  const { rate } = await send();
  await sleep(1000);
  const spent = difference(cpuOf(child.pid), before);
  child.stdin.end();
  await once(child, 'exit');
  const result = JSON.parse(said.slice(said.indexOf('{')));
  const isExact =
    loops === undefined
      ? undefined
      : result.flows === FLOWS && result.counts.every((text) => text === `${loops}/${loops * FRAME_LENGTH}`);
  return {
    ...spent,
    program: result.programSeconds,
    rate,
    exact: isExact,
    packets: result.packets,
    flows: result.flows,
    handedUp: result.frames,
    dropped: result.dropped,
    evicted: result.evicted,
    MB: result.megabytes,
  };
}

async function measure(command, send) {
  if (command === undefined) return { rate: (await send()).rate };
  const child = spawn(command[0], command[1], { stdio: 'ignore' });
  await sleep(1500);
  const before = cpuOf(child.pid);
  const { rate } = await send();
  await sleep(1000);
  const spent = difference(cpuOf(child.pid), before);
  child.kill('SIGTERM');
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  return { ...spent, rate };
}

/** Seconds of CPU so far; nothing for a process that has ended. */
function cpuOf(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return { user: Number(fields[11]) / TICKS_A_SECOND, system: Number(fields[12]) / TICKS_A_SECOND };
  } catch {
    return { user: Number.NaN, system: Number.NaN };
  }
}

function difference(after, before) {
  return { user: round(after.user - before.user), system: round(after.system - before.system) };
}

function round(seconds) {
  return Math.round(seconds * 1000) / 1000;
}

async function replay(file, loops, packetsPerSecond) {
  const words = ['netns', 'exec', NAMESPACE, 'tcpreplay', '-q', '--preload-pcap', '-i', 'far0'];
  const child = spawn('ip', [...words, '--loop', `${loops}`, '--pps', `${packetsPerSecond}`, file]);
  let said = '';
  child.stdout.on('data', (chunk) => (said += chunk));
  child.stderr.on('data', (chunk) => (said += chunk));
  await once(child, 'exit');
  return { rate: `${Math.round(Number(/([\d.]+) pps/.exec(said)?.[1]) / 1000)} k/s` };
}

async function bulk(seconds) {
  const words = ['netns', 'exec', NAMESPACE, 'iperf3', '-s', '-p', `${PORT}`];
  const server = spawn('ip', words, { stdio: 'ignore' });
  try {
    for (;;) {
      const { stdout } = spawnSync('iperf3', ['-J', '-c', FAR_ADDRESS, '-p', `${PORT}`, '-n', '1']);
      if (JSON.parse(String(stdout)).error === undefined) break;
      await sleep(100);
    }
    const client = spawn('iperf3', ['-J', '-c', FAR_ADDRESS, '-p', `${PORT}`, '-t', `${seconds}`]);
    let said = '';
    client.stdout.on('data', (chunk) => (said += chunk));
    await once(client, 'close');
    const bitsPerSecond = JSON.parse(said).end.sum_sent.bits_per_second;
    return { rate: `${(bitsPerSecond / 1e9).toFixed(1)} Gbit/s` };
  } finally {
    const isEnded = once(server, 'exit');
    server.kill();
    await isEnded;
  }
}

function makeLink() {
  ip('netns', 'add', NAMESPACE);
  ip('link', 'add', NEAR, 'type', 'veth', 'peer', 'name', 'far0', 'netns', NAMESPACE);
  ip('addr', 'add', `${NEAR_ADDRESS}/30`, 'dev', NEAR);
  ip('link', 'set', NEAR, 'up');
  ip('-n', NAMESPACE, 'addr', 'add', `${FAR_ADDRESS}/30`, 'dev', 'far0');
  ip('-n', NAMESPACE, 'link', 'set', 'far0', 'up');
}

function ip(...words) {
  execFileSync('ip', words);
}

/** One TCP packet of each flow, in a classic pcap. */
function pcapOf(flows, tcpFlags) {
  const record = 16 + FRAME_LENGTH;
  const bytes = Buffer.alloc(24 + flows * record);
  bytes.writeUInt32LE(0xa1b2c3d4, 0);
  bytes.writeUInt16LE(2, 4);
  bytes.writeUInt16LE(4, 6);
  bytes.writeUInt32LE(65_535, 16);
  bytes.writeUInt32LE(1, 20);
  for (let flow = 0; flow < flows; flow++) {
    const at = 24 + flow * record;
    bytes.writeUInt32LE(1_700_000_000, at);
    bytes.writeUInt32LE(FRAME_LENGTH, at + 8);
    bytes.writeUInt32LE(FRAME_LENGTH, at + 12);
    const frame = at + 16;
    bytes.writeUInt16BE(0x0800, frame + 12);
    bytes.writeUInt8(0x45, frame + 14);
    bytes.writeUInt16BE(FRAME_LENGTH - 14, frame + 16);
    bytes.writeUInt8(64, frame + 22);
    bytes.writeUInt8(6, frame + 23);
    bytes.writeUInt32BE(0x0a000000 + (flow >>> 4), frame + 26);
    bytes.writeUInt32BE(0x0a800001, frame + 30);
    bytes.writeUInt16BE(1024 + (flow & 15), frame + 34);
    bytes.writeUInt16BE(PORT, frame + 36);
    bytes.writeUInt8(0x50, frame + 46);
    bytes.writeUInt8(tcpFlags, frame + 47);
  }
  return bytes;
}

/** The child: captures until its standard input ends, then says what it has. */
async function captureAs(way, device) {
  const [{ openLiveSource }, { PortSet }, { FlowTable }, decoding, { systemClock }, { silentLogger }] =
    await Promise.all(
      [
        'agent/capture/live.js',
        'agent/capture/source.js',
        'agent/flow/table.js',
        'agent/decode/packet.js',
        'common/clock.js',
        'common/log.js',
      ].map((file) => import(`../dist/${file}`)),
    );
  const table = new FlowTable({
    maxFlows: 131_072,
    isService: (_w0, _w1, _w2, _w3, port) => port === PORT,
    countOnOneInterface: true,
    ended: () => {},
  });
  const packet = new decoding.Packet();
  let frames = 0;
  const { source } = await openLiveSource({
    interface: device,
    ports: new PortSet([PORT]),
    prefer: way,
    clock: systemClock,
    logger: silentLogger,
  });
  const running = source.run({
    frame(frame) {
      frames++;
      if (decoding.decode(frame, packet) === 'tcp') table.observe(frame, packet);
    },
    counts: (counts) => table.account(counts),
    blockEnd() {},
  });
  console.log('ready');
  await once(process.stdin.resume(), 'end');
  const programSeconds = way === 'kernel' ? await programTime() : undefined;
  source.stop();
  await running;
  const counts = new Set();
  let packets = 0;
  for (const { initiator, responder } of table) {
    packets += initiator.packets + responder.packets;
    counts.add(`${initiator.packets + responder.packets}/${initiator.bytes + responder.bytes}`);
  }
  const { dropped } = source.counters();
  const { opened, evicted } = table.counters;
  const megabytes = Math.round(process.memoryUsage.rss() / 1e6);
  const result = { frames, packets, flows: opened, evicted, dropped, programSeconds, megabytes };
  console.log(JSON.stringify({ ...result, counts: [...counts].slice(0, 10) }));
  process.exit(0);
}

/** Seconds that the newest socket filter of the machine has run, by the kernel's own clock (bpf(2)). */
async function programTime() {
  const { loadLibc } = await import('../dist/agent/capture/linux/libc.js');
  const libc = await loadLibc();
  const GET_NEXT_PROGRAM = 11;
  const GET_PROGRAM = 13;
  const GET_INFO = 15;
  const SOCKET_FILTER = 1;
  const RUN_TIME = 192;
  const info = libc.allocate(4096);
  const view = new DataView(info.bytes);
  const attributes = new DataView(new ArrayBuffer(16));
  const call = (command) => libc.bpf(command, new Uint8Array(attributes.buffer), 'ask for programs');
  let seconds;
  for (let id = 0; ;) {
    attributes.setUint32(0, id, true);
    try {
      call(GET_NEXT_PROGRAM);
    } catch {
      return seconds;
    }
    id = attributes.getUint32(4, true);
    attributes.setUint32(0, id, true);
    attributes.setUint32(4, 0, true);
    const fd = call(GET_PROGRAM);
    attributes.setUint32(0, fd, true);
    attributes.setUint32(4, 224, true);
    attributes.setBigUint64(8, info.address, true);
    call(GET_INFO);
    libc.close(fd);
    if (view.getUint32(0, true) === SOCKET_FILTER)
      seconds = round(Number(view.getBigUint64(RUN_TIME, true)) / 1e9);
    attributes.setBigUint64(8, 0n, true);
    attributes.setUint32(4, 0, true);
  }
}
