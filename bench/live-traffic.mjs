/** The traffic that bench/capture measures with: a link to a network namespace, and what is sent over it. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

/** The port that everything goes to. */
export const PORT = 43_800;
const PAYLOAD = 36;
/** Bytes of every packet of `pcapOf`. */
export const FRAME_LENGTH = 14 + 40 + PAYLOAD;
export const TCP_SYN = 0x02;
export const TCP_ACK = 0x10;

const NAMESPACE = `plasmawatch-bench-${process.pid}`;
/** The near end of the link. */
export const NEAR = `pwb${process.pid}`.slice(0, 15);
export const NEAR_ADDRESS = '198.18.200.1';
const FAR_ADDRESS = '198.18.200.2';

export function makeLink() {
  ip('netns', 'add', NAMESPACE);
  ip('link', 'add', NEAR, 'type', 'veth', 'peer', 'name', 'far0', 'netns', NAMESPACE);
  ip('addr', 'add', `${NEAR_ADDRESS}/30`, 'dev', NEAR);
  ip('link', 'set', NEAR, 'up');
  ip('-n', NAMESPACE, 'addr', 'add', `${FAR_ADDRESS}/30`, 'dev', 'far0');
  ip('-n', NAMESPACE, 'link', 'set', 'far0', 'up');
}

export function removeLink() {
  spawnSync('ip', ['link', 'del', NEAR]);
  spawnSync('ip', ['netns', 'del', NAMESPACE]);
}

/** Sends a capture so many times at so many packets a second. Gives the rate that came about. */
export async function replay(file, loops, packetsPerSecond) {
  const words = ['netns', 'exec', NAMESPACE, 'tcpreplay', '-q', '--preload-pcap', '-i', 'far0'];
  const child = spawn('ip', [...words, '--loop', `${loops}`, '--pps', `${packetsPerSecond}`, file]);
  let said = '';
  child.stdout.on('data', (chunk) => (said += chunk));
  child.stderr.on('data', (chunk) => (said += chunk));
  await once(child, 'exit');
  return `${Math.round(Number(/([\d.]+) pps/.exec(said)?.[1]) / 1000)} k/s`;
}

/** Sends as much as TCP can. Gives the rate. */
export async function bulk(seconds) {
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
    return `${(JSON.parse(said).end.sum_sent.bits_per_second / 1e9).toFixed(1)} Gbit/s`;
  } finally {
    const isEnded = once(server, 'exit');
    server.kill();
    await isEnded;
  }
}

/** One TCP packet of each flow, in a classic pcap. Sets with other numbers have other flows. */
export function pcapOf(flows, tcpFlags, set = 0) {
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
    bytes.writeUInt32BE(0x0a000000 + set * 0x100000 + (flow >>> 4), frame + 26);
    bytes.writeUInt32BE(0x0a800001, frame + 30);
    bytes.writeUInt16BE(1024 + (flow & 15), frame + 34);
    bytes.writeUInt16BE(PORT, frame + 36);
    bytes.writeUInt8(0x50, frame + 46);
    bytes.writeUInt8(tcpFlags, frame + 47);
  }
  return bytes;
}

/** Makes one packet of a `pcapOf` data of another sender. */
export function makeData(pcap, number, address) {
  const frame = 24 + number * (16 + FRAME_LENGTH) + 16;
  pcap.writeUInt8(TCP_ACK, frame + 47);
  address.split('.').forEach((part, index) => pcap.writeUInt8(Number(part), frame + 26 + index));
}

function ip(...words) {
  execFileSync('ip', words);
}
