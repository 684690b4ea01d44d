/** The live sources on the real kernel, with tcpdump's recording of the same traffic as the oracle. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, it, vi } from 'vitest';
import { openLibpcap } from '../../agent/capture/libpcap.ts';
import { openPacketRing } from '../../agent/capture/linux/packet-ring.ts';
import { openLiveSource } from '../../agent/capture/live.ts';
import { type Frame, type FrameSink, type PacketSource, PortSet } from '../../agent/capture/source.ts';
import { systemClock } from '../../common/clock.ts';
import { silentLogger } from '../../common/log.ts';
import { freePort } from '../support/free-port.ts';
import { endChild, ip, missingForNamespaces, withEchoServer, withNamespace } from '../support/netns.ts';

const missing = missingForNamespaces('tcpdump');
/** No other test's: a source on all interfaces sees the others' traffic, too. */
const PORT = await freePort();
const OTHER_PORT = await freePort();
/** More than one segment, and many packets. */
const PAYLOAD_BYTES = 300_000;

const dependencies = { clock: systemClock, logger: silentLogger };

const SOURCES = [
  { name: 'ring', open: openPacketRing },
  { name: 'cap', open: openLibpcap },
] as const;

describe.skipIf(missing !== undefined)(`live capture (needs ${missing ?? 'nothing more'})`, () => {
  describe.each(SOURCES)('$name', ({ open }) => {
    it('sees the packets and bytes that tcpdump records, IPv4 and IPv6, and no other port', async () => {
      await withNamespace(async ({ interface: device, namespace, far }) => {
        await withEchoServer(namespace, [PORT, OTHER_PORT], async () => {
          const source = await open({ interface: device, ports: new PortSet([PORT]), ...dependencies });
          const recorded = await recordWhile(device, `tcp port ${PORT}`, async () => {
            await collectWhile(source, async (seen) => {
              await exchange(far.ipv4, OTHER_PORT, 5000);
              await exchange(far.ipv4, PORT, PAYLOAD_BYTES);
              await exchange(far.ipv6, PORT, PAYLOAD_BYTES);
              await vi.waitFor(() => expectEnded(seen, 4), WAIT);
              compared = seen;
            });
          });
          expect(totals(compared)).toEqual(totals(recorded));
          expect(new Set(compared.map(({ ipVersion }) => ipVersion))).toEqual(new Set([4, 6]));
        });
      });
    });

    it('counts what crosses loopback once', async () => {
      const server = createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1');
      await once(server, 'listening');
      const { port } = server.address() as AddressInfo;
      const source = await open({ interface: 'lo', ports: new PortSet([port]), ...dependencies });
      const recorded = await recordWhile('lo', `tcp port ${port}`, async () => {
        await collectWhile(source, async (seen) => {
          await exchange('127.0.0.1', port, PAYLOAD_BYTES);
          await vi.waitFor(() => expectEnded(seen, 2), WAIT);
          compared = seen;
        });
      });
      server.close();
      expect(totals(compared)).toEqual(totals(recorded));
    });

    it('captures on all interfaces at once', async () => {
      await withNamespace(async ({ interface: device, namespace, far }) => {
        await withEchoServer(namespace, [PORT], async () => {
          const source = await open({ ports: new PortSet([PORT]), ...dependencies });
          const recorded = await recordWhile(device, `tcp port ${PORT}`, async () => {
            await collectWhile(source, async (seen) => {
              await exchange(far.ipv4, PORT, PAYLOAD_BYTES);
              await vi.waitFor(() => expectEnded(seen, 2), WAIT);
              compared = seen;
            });
          });
          expect(totals(compared)).toEqual(totals(recorded));
        });
      });
    });

    it('follows the ports that it is given while it runs', async () => {
      await withNamespace(async ({ interface: device, namespace, far }) => {
        await withEchoServer(namespace, [PORT, OTHER_PORT], async () => {
          const source = await open({ interface: device, ports: new PortSet([PORT]), ...dependencies });
          await collectWhile(source, async (seen) => {
            await exchange(far.ipv4, PORT, 1000);
            await vi.waitFor(() => expectEnded(seen, 2), WAIT);
            source.setPorts(new PortSet([OTHER_PORT]));
            // Libpcap's process takes a moment.
            await vi.waitFor(async () => {
              await exchange(far.ipv4, OTHER_PORT, 10);
              expect(seen.some(({ ports }) => ports.includes(OTHER_PORT))).toBe(true);
            }, WAIT);
            const before = seen.length;
            await exchange(far.ipv4, PORT, 1000);
            await exchange(far.ipv4, OTHER_PORT, 2000);
            const bytes = (): number =>
              seen.slice(before).reduce((sum, { originalLength }) => sum + originalLength, 0);
            await vi.waitFor(() => expect(bytes()).toBeGreaterThan(4000), WAIT);
            expect(seen.slice(before).every(({ ports }) => ports.includes(OTHER_PORT))).toBe(true);
          });
        });
      });
    });

    it('sees TCP inside one and two VLAN tags, with the bytes of the tags', async () => {
      await withNamespace(async ({ interface: device, namespace }) => {
        const source = await open({ interface: device, ports: new PortSet([PORT]), ...dependencies });
        await collectWhile(source, async (seen) => {
          await sendFrames(namespace, [
            buildFrame([], OTHER_PORT),
            buildFrame([], PORT),
            buildFrame(['81000005'], PORT),
            buildFrame(['88a80005', '81000007'], PORT),
            // Priority 2: the tag begins like an IPv4 header.
            buildFrame(['88a80005', '81004507'], PORT),
          ]);
          await vi.waitFor(() => expect(seen).toHaveLength(4), WAIT);
          expect(seen.map(({ originalLength, ports }) => [originalLength, ports[1]])).toEqual([
            [FRAME_LENGTH, PORT],
            [FRAME_LENGTH + 4, PORT],
            [FRAME_LENGTH + 8, PORT],
            [FRAME_LENGTH + 8, PORT],
          ]);
        });
      });
    });

    it('stops twice without a fault, and before it ever ran', async () => {
      const options = { interface: 'lo', ports: new PortSet([PORT]), ...dependencies };
      const unused = await open(options);
      unused.stop();
      unused.stop();
      await unused.run(new Collector());
      const source = await open(options);
      const running = source.run(new Collector());
      source.stop();
      source.stop();
      await running;
      source.setPorts(new PortSet([OTHER_PORT]));
      expect(source.counters().received).toBe(0);
    });

    it('names the interface that does not exist', async () => {
      await expect(
        open({ interface: 'pw-nonesuch', ports: new PortSet([PORT]), ...dependencies }),
      ).rejects.toThrow(/pw-nonesuch/);
    });
  });

  it('outlives the end of libpcap when its interface goes down, and can open it again', async () => {
    await withNamespace(async ({ interface: device, namespace, far }) => {
      await withEchoServer(namespace, [PORT], async () => {
        const options = { interface: device, ports: new PortSet([PORT]), ...dependencies };
        const source = await openLibpcap(options);
        const running = source.run(new Collector());
        await ip('link', 'set', device, 'down');
        await expect(running).rejects.toMatchObject({ code: 'PW_CAPTURE_FAILED' });
        await expect(openLibpcap(options)).rejects.toThrow(device);
        await ip('link', 'set', device, 'up');
        const again = await openLibpcap(options);
        await collectWhile(again, async (seen) => {
          await exchange(far.ipv4, PORT, 1000);
          await vi.waitFor(() => expectEnded(seen, 2), WAIT);
        });
        expect(again.counters().dropped).toBeNull();
      });
    });
  });

  it('gives packets of the ring the time and the name of the interface', async () => {
    await withNamespace(async ({ interface: device, namespace, far }) => {
      await withEchoServer(namespace, [PORT], async () => {
        const source = await openPacketRing({ ports: new PortSet([PORT]), ...dependencies });
        const startSeconds = Math.floor(systemClock.now() / 1000);
        await collectWhile(source, async (seen) => {
          await exchange(far.ipv4, PORT, 1000);
          await vi.waitFor(() => expectEnded(seen, 2), WAIT);
          expect(seen.map(({ interfaceIndex }) => source.interfaceName(interfaceIndex))).toEqual(
            seen.map(() => device),
          );
          expect(seen.every(({ seconds }) => seconds >= startSeconds)).toBe(true);
          expect(new Set(seen.map(({ nanoseconds }) => nanoseconds)).size).toBeGreaterThan(1);
        });
        expect(source.interfaceName(0)).toBeUndefined();
      });
    });
  });

  it('counts what an overrun ring has lost, and goes on', async () => {
    await withNamespace(async ({ interface: device, namespace, far }) => {
      await withEchoServer(namespace, [PORT], async () => {
        const source = await openPacketRing({
          interface: device,
          ports: new PortSet([PORT]),
          blockCount: 2,
          ...dependencies,
        });
        // Nobody reads the two blocks until the ring has overflowed.
        await vi.waitFor(async () => {
          await exchange(far.ipv4, PORT, PAYLOAD_BYTES);
          expect(source.counters().dropped).toBeGreaterThan(0);
        }, WAIT);
        await collectWhile(source, async (seen, collector) => {
          await vi.waitFor(() => {
            const { received, dropped } = source.counters();
            expect(received - (dropped ?? 0)).toBe(collector.frames);
          }, WAIT);
          expect(collector.frames).toBeGreaterThan(0);
          seen.length = 0;
          await exchange(far.ipv4, PORT, 1000);
          await vi.waitFor(() => expectEnded(seen, 2), WAIT);
        });
      });
    });
  });

  it('survives an interface that goes down, and one that is made anew', async () => {
    await withNamespace(async ({ interface: device, namespace, near, far }) => {
      await withEchoServer(namespace, [PORT], async () => {
        const source = await openPacketRing({
          interface: device,
          ports: new PortSet([PORT]),
          ...dependencies,
        });
        await collectWhile(source, async (seen) => {
          await ip('link', 'set', device, 'down');
          await ip('link', 'set', device, 'up');
          await reachAndSee(seen, far.ipv4);
          await ip('link', 'del', device);
          await ip('link', 'add', device, 'type', 'veth', 'peer', 'name', 'far0', 'netns', namespace);
          await ip('addr', 'add', `${near.ipv4}/30`, 'dev', device);
          await ip('link', 'set', device, 'up');
          await ip('-n', namespace, 'addr', 'add', `${far.ipv4}/30`, 'dev', 'far0');
          await ip('-n', namespace, 'link', 'set', 'far0', 'up');
          await reachAndSee(seen, far.ipv4);
          expect(seen.every(({ ports }) => ports.includes(PORT))).toBe(true);
        });
      });
    });
  });

  it('lets the kernel count first, and names what was passed over', async () => {
    const ports = new PortSet([PORT]);
    const first = await openLiveSource({ ports, ...dependencies });
    expect([first.source.name, first.passedOver]).toEqual(['kernel', []]);
    first.source.stop();
    const preferred = await openLiveSource({ ports, prefer: 'cap', ...dependencies });
    expect(preferred.source.name).toBe('cap');
    preferred.source.stop();
  });
});

const WAIT = { timeout: 15_000, interval: 20 };

/** What a frame says, for comparing. */
interface Seen {
  readonly originalLength: number;
  readonly ipVersion: number;
  readonly ports: readonly number[];
  readonly hasFin: boolean;
  readonly seconds: number;
  readonly nanoseconds: number;
  readonly interfaceIndex: number;
}

/** The frames of the last run, for comparing with the recording after both have ended. */
let compared: Seen[] = [];

class Collector implements FrameSink {
  readonly seen: Seen[] = [];
  frames = 0;
  blocks = 0;

  frame(frame: Frame): void {
    this.frames++;
    const link = frame.linkType === ETHERNET ? ethernetLength(frame.view, frame.offset) : 0;
    const network = frame.offset + link;
    // Multicast listener reports pass the filter, too: they hide behind an extension header.
    if (isPlainTcp(frame.view, network)) this.seen.push(describeFrame(frame, frame.view, network));
  }

  counts(): void {}

  blockEnd(): void {
    this.blocks++;
  }
}

const ETHERNET = 1;
const FIN = 1;
const IPPROTO_TCP = 6;

function describeFrame(
  frame: Pick<Frame, 'originalLength' | 'seconds' | 'nanoseconds' | 'interfaceIndex'>,
  view: DataView,
  network: number,
): Seen {
  const ipVersion = view.getUint8(network) >>> 4;
  const tcp = network + (ipVersion === 4 ? (view.getUint8(network) & 15) * 4 : 40);
  return {
    originalLength: frame.originalLength,
    ipVersion,
    ports: [view.getUint16(tcp), view.getUint16(tcp + 2)],
    hasFin: (view.getUint8(tcp + 13) & FIN) !== 0,
    seconds: frame.seconds,
    nanoseconds: frame.nanoseconds,
    interfaceIndex: frame.interfaceIndex,
  };
}

function isPlainTcp(view: DataView, network: number): boolean {
  return view.getUint8(network + (view.getUint8(network) >>> 4 === 4 ? 9 : 6)) === IPPROTO_TCP;
}

/** Length of an Ethernet header with its VLAN tags. */
function ethernetLength(view: DataView, offset: number): number {
  let length = 14;
  while ([0x8100, 0x88a8].includes(view.getUint16(offset + length - 2))) length += 4;
  return length;
}

function totals(seen: readonly Seen[]): { packets: number; bytes: number } {
  return { packets: seen.length, bytes: seen.reduce((sum, { originalLength }) => sum + originalLength, 0) };
}

/** All connections have ended: so many FINs, and the acknowledgement of the last. */
function expectEnded(seen: readonly Seen[], fins: number): void {
  expect(finsOf(seen)).toBe(fins);
  expect(seen.at(-1)?.hasFin).toBe(false);
}

function finsOf(seen: readonly Seen[]): number {
  return seen.filter(({ hasFin }) => hasFin).length;
}

/** Runs the source while `work` does something to see, and stops it. */
async function collectWhile(
  source: PacketSource,
  work: (seen: Seen[], collector: Collector) => Promise<void>,
): Promise<void> {
  const collector = new Collector();
  const running = source.run(collector);
  try {
    await work(collector.seen, collector);
  } finally {
    source.stop();
    await running;
  }
  expect(collector.blocks).toBeGreaterThan(0);
  const { received, dropped } = source.counters();
  expect(received - (dropped ?? 0)).toBeGreaterThanOrEqual(collector.frames);
}

/** Sends bytes to an echo server, takes them back, and closes both sides in order. */
async function exchange(host: string, port: number, lengthBytes: number): Promise<void> {
  const socket = connect({ host, port, allowHalfOpen: true });
  await once(socket, 'connect');
  let received = 0;
  socket.on('data', (chunk) => {
    received += chunk.length;
  });
  socket.end(Buffer.alloc(lengthBytes, 'plasma'));
  await once(socket, 'end');
  expect(received).toBe(lengthBytes);
}

async function reachAndSee(seen: Seen[], host: string): Promise<void> {
  seen.length = 0;
  await vi.waitFor(async () => {
    await exchange(host, PORT, 1000);
    expect(finsOf(seen)).toBeGreaterThan(0);
  }, WAIT);
}

/** Records an interface with tcpdump while `work` runs; gives what is in the file. */
async function recordWhile(device: string, filter: string, work: () => Promise<void>): Promise<Seen[]> {
  const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-live-'));
  const file = join(folder, 'recorded.pcap');
  try {
    const tcpdump = spawn(
      'tcpdump',
      ['-i', device, '-Z', 'root', '--immediate-mode', '-U', '-s', '128', '-w', file, filter],
      {
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
    try {
      await once(createInterface(tcpdump.stderr), 'line');
      await work();
      await vi.waitFor(async () => expectEnded(readRecording(await readFile(file)), finsOf(compared)), WAIT);
    } finally {
      await endChild(tcpdump, 'SIGINT');
    }
    return readRecording(await readFile(file));
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The records of a classic little-endian pcap of Ethernet frames. */
function readRecording(bytes: Buffer): Seen[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const seen: Seen[] = [];
  for (let record = 24; record < view.byteLength; record += 16 + view.getUint32(record + 8, true)) {
    const frame = {
      originalLength: view.getUint32(record + 12, true),
      seconds: view.getUint32(record, true),
      nanoseconds: 0,
      interfaceIndex: 0,
    };
    seen.push(describeFrame(frame, view, record + 16 + ethernetLength(view, record + 16)));
  }
  return seen;
}

const FRAME_LENGTH = 14 + 20 + 20 + 40;

/** An Ethernet frame with VLAN tags, IPv4 and TCP with 40 bytes of payload, from port 50,000. */
function buildFrame(tags: readonly string[], destinationPort: number): string {
  const ports = `c350${destinationPort.toString(16).padStart(4, '0')}`;
  return [
    'ffffffffffff 020000000001',
    ...tags,
    '0800',
    '4500 0050 0001 0000 40 06 0000 c6336402 c6336401',
    `${ports} 00000001 00000001 50 10 ffff 0000 0000`,
    '00'.repeat(40),
  ]
    .join('')
    .replaceAll(' ', '');
}

/** Puts frames on the far end of the link, as hex, by libpcap's other direction. */
async function sendFrames(namespace: string, frames: readonly string[]): Promise<void> {
  const script = `
    const { Cap } = require('cap');
    const cap = new Cap();
    cap.open('far0', 'less 1 and greater 2', 1 << 20, Buffer.alloc(1024));
    for (const frame of ${JSON.stringify(frames)}) cap.send(Buffer.from(frame, 'hex'));
    process.exit(0);`;
  const words = ['netns', 'exec', namespace, process.execPath, '-e', script];
  const [status] = (await once(spawn('ip', words, { stdio: 'ignore' }), 'exit')) as [number];
  expect(status).toBe(0);
}
