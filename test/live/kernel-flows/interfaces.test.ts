/** Interfaces that come and go, and what they count themselves. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { openKernelFlows } from '../../../agent/capture/linux/kernel-flows.ts';
import { PortSet } from '../../../agent/capture/source.ts';
import { compile } from '../../support/compile.ts';
import { FlowWatcher, observeFlows } from '../../support/flow-watcher.ts';
import { startIperf } from '../../support/iperf.ts';
import { endChild, ip, missingForNamespaces, withNamespace } from '../../support/netns.ts';
import { tcpFrame } from '../../support/pcap-bytes.ts';
import { replay } from '../../support/replay-frames.ts';
import { dependencies, isWatched, PORT, WAIT } from './traffic.ts';

const missing = missingForNamespaces('tcpreplay');
const lacksTcpdump = missingForNamespaces('tcpdump') !== undefined;
const lacksIperf = missingForNamespaces('iperf3') !== undefined;
const FLAP_ROUNDS = Number(process.env['PLASMAWATCH_TEST_ROUNDS'] ?? 10);

describe.skipIf(missing !== undefined)(
  `interfaces under the kernel's flow table (needs ${missing ?? 'nothing more'})`,
  () => {
    it(
      `lives on while interfaces flap and vanish under traffic, ${FLAP_ROUNDS} times, and leaks no descriptor and no map`,
      { timeout: 20_000 + FLAP_ROUNDS * 3000 },
      async () => {
        await withNamespace(async (link) => {
          const before = await descriptors();
          const extra = `${link.interface.slice(0, 13)}x`;
          const addExtra = async (): Promise<void> => {
            await ip('link', 'add', extra, 'type', 'veth', 'peer', 'name', 'far1', 'netns', link.namespace);
            await ip('link', 'set', extra, 'up');
            await ip('-n', link.namespace, 'link', 'set', 'far1', 'up');
          };
          await addExtra();
          const ports = new PortSet([PORT]);
          const everywhere = new FlowWatcher(await openKernelFlows({ ports, ...dependencies }), isWatched);
          const byName = new FlowWatcher(
            await openKernelFlows({ interface: extra, ports, ...dependencies }),
            isWatched,
          );
          const opened = await descriptors();
          expect(opened).toMatchObject({ maps: 12, packetSockets: 2 });
          for (let round = 0; round < FLAP_ROUNDS; round++) {
            const from = `10.8.0.1:${1000 + round}`;
            const frame = tcpFrame({ from, to: `10.9.0.2:${PORT}`, flags: 'A', payload: 10 });
            const endless = ['--loop', '1000000', '--pps', '2000', '--intf1', 'far1'];
            const traffic = replay(link, [frame], ...endless).catch(() => 'ended with its interface');
            const isSeen = (): void => {
              expect([everywhere.table.size, byName.table.size]).toEqual([round + 1, round + 1]);
            };
            await vi.waitFor(isSeen, WAIT);
            await ip('link', 'set', extra, 'down');
            await ip('link', 'set', extra, 'up');
            await ip('link', 'del', extra);
            expect(await traffic).toBe('ended with its interface');
            await addExtra();
          }
          expect(await descriptors()).toEqual(opened);
          const seen = await Promise.all([everywhere, byName].map((watcher) => watcher.stop()));
          await ip('link', 'del', extra);
          for (const { flows, sides } of seen) {
            expect(flows.size).toBe(FLAP_ROUNDS);
            const senders = sides.filter(({ packets }) => packets > 0);
            expect(senders.every(({ packets, bytes }) => bytes === packets * 64)).toBe(true);
          }
          expect(await descriptors()).toEqual(before);
        });
      },
    );

    it(
      `goes on when its own network namespace is removed, ${FLAP_ROUNDS} times`,
      { timeout: 20_000 + FLAP_ROUNDS * 3000 },
      async () => {
        const { folder, remove } = await compile(
          'agent/capture/linux/kernel-flows.ts',
          'common/clock.ts',
          'common/log.ts',
        );
        onTestFinished(remove);
        const program = countPackets(folder);
        for (let round = 0; round < FLAP_ROUNDS; round++) {
          await withNamespace(async (link) => {
            const words = ['netns', 'exec', link.namespace, process.execPath, '--input-type=module'];
            const child = spawn('ip', [...words, '-e', program], {
              stdio: ['pipe', 'pipe', 'inherit'],
            });
            const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
            expect((await lines.next()).value).toBe('open');
            const frame = tcpFrame({ from: '10.8.0.1:7', to: `10.9.0.2:${PORT}`, flags: 'A', payload: 10 });
            const words500 = ['--loop', '500', '--intf1', link.interface];
            await replay({ namespace: undefined }, [frame], ...words500);
            await ip('netns', 'del', link.namespace);
            await replay({ namespace: undefined }, [frame], ...words500);
            child.stdin.end();
            expect((await lines.next()).value).toBe('1000 packets, 0 descriptors left');
          });
        }
      },
    );

    it.skipIf(lacksIperf || lacksTcpdump)(
      'counts the bytes that the interface counts, less what is not watched (needs iperf3 and tcpdump)',
      { timeout: 40_000 },
      async () => {
        await withNamespace(async (link) => {
          // The interface counts a packet that is to be cut up as one; ours are the packets on the wire.
          await ip('link', 'set', link.interface, 'gso_max_segs', '1');
          await ip('-n', link.namespace, 'link', 'set', 'far0', 'gso_max_segs', '1');
          // Without IPv6 nothing speaks up between the looks at both counters.
          const withoutIpv6 = (name: string): string[] => [
            'sysctl',
            '-qw',
            `net.ipv6.conf.${name}.disable_ipv6=1`,
          ];
          await promisify(execFile)('sysctl', withoutIpv6(link.interface).slice(1));
          await ip('netns', 'exec', link.namespace, ...withoutIpv6('far0'));
          const server = await startIperf(link, PORT);
          const others = new OtherTraffic(link.interface);
          try {
            await others.begin();
            const source = await openKernelFlows({
              interface: link.interface,
              ports: new PortSet([PORT]),
              ...dependencies,
            });
            const before = await interfaceBytes(link.interface);
            const seen = await observeFlows(source, isWatched, async () => {
              await promisify(execFile)('iperf3', ['-c', link.far.ipv4, '-p', `${PORT}`, '-t', '5']);
              // The last acknowledgments come when iperf3 is gone already.
              await quiet(link.interface);
            });
            const after = await interfaceBytes(link.interface);
            const bytes = seen.sides.reduce((sum, side) => sum + side.bytes, 0);
            expect(bytes).toBeGreaterThan(10_000_000);
            expect(bytes).toBe(after - before - (await others.end()));
            expect(source.counters().dropped).toBe(0);
          } finally {
            await others.end();
            await endChild(server);
          }
        });
      },
    );
  },
);

/** A program of the compiled files in the folder. It counts until its standard input ends. */
const countPackets = (folder: string): string => `
  import { openKernelFlows } from '${folder}/agent/capture/linux/kernel-flows.js';
  import { PortSet } from '${folder}/agent/capture/source.js';
  import { systemClock as clock } from '${folder}/common/clock.js';
  import { silentLogger as logger } from '${folder}/common/log.js';
  import { once } from 'node:events';
  import { readdirSync, readlinkSync } from 'node:fs';
  const source = await openKernelFlows({ ports: new PortSet([${PORT}]), clock, logger });
  let packets = 0;
  const running = source.run({
    frame: () => packets++,
    counts: (counts) => (packets += counts.packets),
    blockEnd: () => {},
  });
  console.log('open');
  await once(process.stdin.resume(), 'end');
  source.stop();
  await running;
  const left = readdirSync('/proc/self/fd').filter((fd) => {
    try { return readlinkSync('/proc/self/fd/' + fd).includes('bpf'); } catch { return false; }
  });
  console.log(packets + ' packets, ' + left.length + ' descriptors left');
  process.exit(0)`;

/** What crosses an interface besides the watched port, as tcpdump sees it. */
class OtherTraffic {
  readonly #interface: string;
  #child: ChildProcess | undefined;
  #bytes = 0;

  constructor(name: string) {
    this.#interface = name;
  }

  async begin(): Promise<void> {
    const words = ['-i', this.#interface, '-U', '--immediate-mode', '-w', '-', `not tcp port ${PORT}`];
    const child = spawn('tcpdump', words, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      this.#bytes = recordedBytes(Buffer.concat(chunks));
    });
    await once(createInterface(child.stderr), 'line');
  }

  /** Bytes so far. */
  async end(): Promise<number> {
    if (this.#child !== undefined) await endChild(this.#child);
    return this.#bytes;
  }
}

/** The lengths of all whole packets of a pcap file, which is in the byte order of this machine. */
function recordedBytes(pcap: Buffer): number {
  let bytes = 0;
  for (let at = 24; at + 16 <= pcap.length; at += 16 + pcap.readUInt32LE(at + 8)) {
    bytes += pcap.readUInt32LE(at + 12);
  }
  return bytes;
}

/** Waits until an interface counts nothing more for a while. */
async function quiet(name: string): Promise<void> {
  for (let before = -1; ;) {
    const now = await interfaceBytes(name);
    if (now === before) return;
    before = now;
    await delay(200);
  }
}

/** All bytes, in and out. */
async function interfaceBytes(name: string): Promise<number> {
  const read = async (direction: string): Promise<number> =>
    Number(await readFile(`/sys/class/net/${name}/statistics/${direction}_bytes`, 'utf8'));
  return (await read('rx')) + (await read('tx'));
}

/** How many descriptors this process has of each kind that capturing opens. */
async function descriptors(): Promise<Record<string, number>> {
  const packetSockets = await readFile('/proc/self/net/packet', 'utf8');
  const inodes = new Set(packetSockets.split('\n').map((line) => line.trim().split(/\s+/).at(-1)));
  // A descriptor of the listing itself is closed before its link can be read.
  const links = await Promise.all(
    (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  );
  const count = (isOne: (link: string) => boolean): number => links.filter(isOne).length;
  return {
    maps: count((link) => link.includes('bpf-map')),
    programs: count((link) => link.includes('bpf-prog')),
    events: count((link) => link.includes('[eventfd')),
    packetSockets: count((link) => inodes.has(/^socket:\[(\d+)\]$/.exec(link)?.[1])),
  };
}
