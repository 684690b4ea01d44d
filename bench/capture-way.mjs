/**
 * One way of capturing, as a process that bench/capture starts: `node capture-way.mjs WAY DEVICE [FOLDER]`. What comes
 * goes into a flow table. Each line on standard input is answered with one of JSON: what there is so far.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { openLiveSource } from '../agent/capture/live.ts';
import { loadLibc } from '../agent/capture/linux/libc.ts';
import { Frame, PortSet } from '../agent/capture/source.ts';
import { decode, Packet } from '../agent/decode/packet.ts';
import { FlowTable } from '../agent/flow/table.ts';
import { preferSmallMemory } from '../cli/memory.ts';
import { systemClock } from '../common/clock.ts';
import { silentLogger } from '../common/log.ts';
import { PORT } from './live-traffic.mjs';

const [way, device, folder] = process.argv.slice(2);
const OPENERS = { 'npm cap': openNpmCap, 'npm pcap': openNpmPcap };
// Ours run as in the agent.
if (OPENERS[way] === undefined) preferSmallMemory();
const table = new FlowTable({
  maxFlows: 65_536,
  isService: (_w0, _w1, _w2, _w3, port) => port === PORT,
  countOnOneInterface: true,
  ended: () => {},
});
const packet = new Packet();
let frames = 0;
const sink = {
  frame(frame) {
    frames++;
    if (decode(frame, packet) === 'tcp') table.observe(frame, packet);
  },
  counts: (counts) => table.account(counts),
  blockEnd() {},
};
const source = await (OPENERS[way] ?? openOurs)();
console.log('ready');
for await (const line of createInterface(process.stdin)) {
  // Before a line of the end: everything that is still under way.
  if (line === 'end') await source.stop();
  const { user, system } = process.cpuUsage();
  const cpu = { user: user / 1e6, system: system / 1e6 };
  const program = way === 'kernel' ? await programTime() : 0;
  console.log(JSON.stringify({ ...cpu, program, frames, ...(line === 'end' ? totals() : {}) }));
  if (line === 'end') process.exit(0);
}

async function openOurs() {
  const options = { interface: device, ports: new PortSet([PORT]), prefer: way };
  const dependencies = { clock: systemClock, logger: silentLogger };
  const { source: live } = await openLiveSource({ ...options, ...dependencies });
  const running = live.run(sink);
  return {
    async stop() {
      live.stop();
      await running;
    },
    dropped: () => live.counters().dropped,
  };
}

/** The npm package `cap` in this process, as one would use it. */
function openNpmCap() {
  const { Cap } = createRequire(import.meta.url)('cap');
  const cap = new Cap();
  const bytes = Buffer.alloc(65_536);
  cap.open(device, `tcp port ${PORT}`, 32 * 1024 * 1024, bytes);
  const frame = new Frame();
  frame.linkType = 1;
  frame.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  cap.on('packet', (length) => {
    const now = Date.now();
    frame.seconds = Math.floor(now / 1000);
    frame.nanoseconds = (now % 1000) * 1e6;
    frame.capturedLength = length;
    frame.originalLength = length;
    sink.frame(frame);
  });
  return { stop: () => cap.close(), dropped: () => undefined };
}

/** The npm package `pcap`, installed in a folder of its own. */
function openNpmPcap() {
  const pcap = createRequire(join(folder, 'index.js'))('pcap');
  const session = pcap.createSession(device, { filter: `tcp port ${PORT}`, buffer_size: 32 * 1024 * 1024 });
  const frame = new Frame();
  frame.linkType = 1;
  session.on('packet', ({ buf, header }) => {
    frame.view = new DataView(buf.buffer, buf.byteOffset, buf.byteLength);
    frame.seconds = header.readUInt32LE(0);
    frame.nanoseconds = header.readUInt32LE(4) * 1000;
    frame.capturedLength = header.readUInt32LE(8);
    frame.originalLength = header.readUInt32LE(12);
    sink.frame(frame);
  });
  return { stop: () => session.close(), dropped: () => undefined };
}

function totals() {
  const counts = new Map();
  let packets = 0;
  for (const { initiator, responder } of table) {
    packets += initiator.packets + responder.packets;
    const text = `${initiator.packets + responder.packets}/${initiator.bytes + responder.bytes}`;
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  return {
    packets,
    flows: table.counters.opened,
    evicted: table.counters.evicted,
    dropped: source.dropped(),
    counts: Object.fromEntries([...counts].slice(0, 10)),
  };
}

/** Seconds that the newest socket filter of the machine has run, by the kernel's own clock (bpf(2)). */
async function programTime() {
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
  let seconds = 0;
  try {
    for (let id = 0; ;) {
      attributes.setUint32(0, id, true);
      call(GET_NEXT_PROGRAM);
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
        seconds = Number(view.getBigUint64(RUN_TIME, true)) / 1e9;
      attributes.setBigUint64(8, 0n, true);
      attributes.setUint32(4, 0, true);
    }
  } catch {
    info.unmap();
    return seconds;
  }
}
