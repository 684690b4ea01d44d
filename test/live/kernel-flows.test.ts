/** Counting in the kernel, on the real kernel: every packet once, whatever way it took. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { describe, expect, it, vi } from 'vitest';
import { openLibpcap } from '../../agent/capture/libpcap.ts';
import { openKernelFlows } from '../../agent/capture/linux/kernel-flows.ts';
import { openPacketRing } from '../../agent/capture/linux/packet-ring.ts';
import { PortSet } from '../../agent/capture/source.ts';
import { Membership } from '../../agent/membership/membership.ts';
import { Pipeline, type Policy } from '../../agent/pipeline.ts';
import { IPV4_MAPPED_WORD } from '../../common/address.ts';
import { systemClock } from '../../common/clock.ts';
import { packagePath } from '../../common/package.ts';
import { Ruleset } from '../../rules/match.ts';
import { silentLogger } from '../../common/log.ts';
import {
  endChild,
  ip,
  missingForNamespaces,
  type NamespaceLink,
  withEchoServer,
  withNamespace,
} from '../support/netns.ts';
import { replay } from '../support/replay-frames.ts';
import { tcpFrame } from '../support/pcap-bytes.ts';
import { FakeProvider, membersView } from '../support/fake-provider.ts';
import { FlowWatcher, observeFlows, type Seen } from '../support/flow-watcher.ts';
import { exchange } from '../support/exchange.ts';
import { sampleRule } from '../support/sample-rule.ts';

const missing = missingForNamespaces('tcpreplay');
const lacksTcpdump = missingForNamespaces('tcpdump') !== undefined;
const lacksIperf = missingForNamespaces('iperf3') !== undefined;
const PORT = 30_000 + (process.pid % 10_000) * 2;
const OTHER_PORT = PORT + 1;
const FLAP_ROUNDS = Number(process.env['PLASMAWATCH_TEST_ROUNDS'] ?? 10);
const WAIT = { timeout: 15_000, interval: 20 };
const dependencies = { clock: systemClock, logger: silentLogger };

const SOURCES = [
  { name: 'kernel', open: openKernelFlows },
  { name: 'ring', open: openPacketRing },
  { name: 'cap', open: openLibpcap },
] as const;

describe.skipIf(missing !== undefined)(`counting in the kernel (needs ${missing ?? 'nothing more'})`, () => {
  it('counts every packet and byte of every flow, and hands up the first and the control packets', async () => {
    await withNamespace(async (link) => {
      const flows = 2000;
      const rounds = 50;
      const source = await openKernelFlows({
        interface: link.interface,
        ports: new PortSet([PORT]),
        ...dependencies,
      });
      const seen = await observeFlows(source, isWatched, async () => {
        await replay(link, manyFlows(flows), '--loop', String(rounds), '--pps', '100000');
      });
      expect(seen.flows.size).toBe(flows);
      expect(new Set(seen.flows.values())).toEqual(
        new Set([`${rounds} packets, ${rounds * 154} bytes, ${rounds * 100} payload`]),
      );
      expect(seen.frames).toBe(flows);
      expect(source.counters()).toEqual({ received: flows * rounds, dropped: 0, overflowed: 0 });
    });
  });

  it('gives the same flows as the ring and libpcap', async () => {
    await withNamespace(async (link) => {
      const ports = new PortSet([PORT]);
      const options = { interface: link.interface, ports, ...dependencies };
      const sources = await Promise.all(SOURCES.map(({ open }) => open(options)));
      const watchers = sources.map((source) => new FlowWatcher(source, isWatched));
      const frames = [
        ...manyConnections(200),
        ...oddFrames(),
        tcpFrame({ from: '10.9.0.1:5', to: `10.9.0.2:${OTHER_PORT}`, flags: 'A' }),
      ];
      await replay(link, frames, '--pps', '2000');
      await replay(
        link,
        frames.filter((frame) => !isSyn(frame)),
        '--pps',
        '2000',
        '--loop',
        '3',
      );
      await vi.waitFor(() => expect(watchers[1]?.table.size).toBe(200 + oddFrames().length), WAIT);
      // Slowly, too: libpcap's binding drops packets of a busy moment without a word, and when it is stopped it loses
      // what it has not delivered.
      await vi.waitFor(() => expect(watchers[2]?.frames).toBe(watchers[1]?.frames), WAIT);
      const seen = await Promise.all(watchers.map((watcher) => watcher.stop()));
      expect(seen[0]?.flows.size).toBe(200 + oddFrames().length);
      expect(seen[0]?.flows).toEqual(seen[1]?.flows);
      expect(seen[2]?.flows).toEqual(seen[1]?.flows);
      expect(seen[0]?.states).toEqual(seen[1]?.states);
    });
  });

  it('finds connections in the tunnels of overlays, as the ring and libpcap do', async () => {
    await withNamespace(async (link) => {
      const options = { interface: link.interface, ports: new PortSet([PORT]), ...dependencies };
      const sources = await Promise.all(SOURCES.map(({ open }) => open(options)));
      const watchers = sources.map((source) => new FlowWatcher(source, isWatched));
      const frames = tunnelledFrames();
      // An overlay carries everybody's connections.
      const others = tunnelledFrames(OTHER_PORT + 1);
      await replay(link, [...frames, ...others], '--pps', '500', '--loop', '3');
      await vi.waitFor(() => expect(watchers[0]?.table.size).toBe(frames.length), WAIT);
      await vi.waitFor(() => expect(watchers[2]?.frames).toBe(3 * frames.length), WAIT);
      const seen = await Promise.all(watchers.map((watcher) => watcher.stop()));
      expect(seen[0]?.flows.size).toBe(frames.length);
      expect(seen[0]?.flows).toEqual(seen[1]?.flows);
      expect(seen[2]?.flows).toEqual(seen[1]?.flows);
      expect(seen[0]?.frames).toBe(frames.length);
    });
  });

  it('sees who talks through a vxlan device of Linux', async () => {
    await withNamespace(async (link) => {
      const device = `${link.interface.slice(0, 13)}v`;
      const vxlan = (local: string, remote: string): string[] =>
        `type vxlan id 7 dstport 4789 local ${local} remote ${remote}`.split(' ');
      try {
        await ip('link', 'add', device, ...vxlan(link.near.ipv4, link.far.ipv4));
        await ip('addr', 'add', '198.19.255.1/30', 'dev', device);
        // Fragments are the pipeline's to join.
        await ip('link', 'set', device, 'mtu', '1400', 'up');
        const far = ['-n', link.namespace];
        await ip(...far, 'link', 'add', 'vx0', ...vxlan(link.far.ipv4, link.near.ipv4));
        await ip(...far, 'addr', 'add', '198.19.255.2/30', 'dev', 'vx0');
        await ip(...far, 'link', 'set', 'vx0', 'mtu', '1400', 'up');
        await withEchoServer(link.namespace, [PORT], async () => {
          // The link under the tunnel only: there is nothing but the outside to see.
          const options = { interface: link.interface, ports: new PortSet([PORT]), ...dependencies };
          const ring = new FlowWatcher(await openPacketRing(options), isWatched);
          const seen = await observeFlows(await openKernelFlows(options), isWatched, () =>
            exchange('198.19.255.2', PORT, 1_000_000),
          );
          const expected = await ring.stop();
          expect([...seen.flows.keys()]).toEqual([
            expect.stringMatching(/^198\.19\.255\.1 \d+ 198\.19\.255\.2 /),
          ]);
          expect([...seen.flows.keys()]).toEqual([...expected.flows.keys()]);
          const payloads = ({ sides }: Seen): number[] => sides.map(({ payloadBytes }) => payloadBytes);
          expect(payloads(seen)).toEqual(payloads(expected));
          expect(Math.min(...payloads(seen))).toBeGreaterThanOrEqual(1_000_000);
          expect(seen.frames).toBeLessThan(50);
        });
      } finally {
        await ip('link', 'del', device);
      }
    });
  });

  it('keeps the counts of connections apart that follow each other between the same ends', async () => {
    await withNamespace(async (link) => {
      const options = { interface: link.interface, ports: new PortSet([PORT]), ...dependencies };
      const ring = new FlowWatcher(await openPacketRing(options), isWatched);
      const source = await openKernelFlows(options);
      const frames = ['10.9.0.1', '10.9.0.3'].flatMap((client) =>
        Array.from({ length: 5 }, (_, number) => connectionOf(client, number)).flat(),
      );
      const seen = await observeFlows(source, isWatched, async (watcher) => {
        // All at once, so that everything is in one block of the ring; then one by one.
        await replay(link, frames);
        await vi.waitFor(() => expect(watcher.frames).toBeGreaterThanOrEqual(30), WAIT);
        await replay(link, frames, '--pps', '50');
      });
      const expected = await ring.stop();
      expect(expected.earlier).toHaveLength(18);
      expect(seen.earlier).toEqual(expected.earlier);
      expect(seen.flows).toEqual(expected.flows);
      expect(source.counters()).toMatchObject({ dropped: 0, overflowed: 0 });
    });
  });

  it('stays exact when its table is full, and says so', async () => {
    await withNamespace(async (link) => {
      const source = await openKernelFlows({
        interface: link.interface,
        ports: new PortSet([PORT]),
        maxDirections: 64,
        ...dependencies,
      });
      const seen = await observeFlows(source, isWatched, () =>
        replay(link, manyFlows(1000), '--loop', '10', '--pps', '50000'),
      );
      expect(seen.flows.size).toBe(1000);
      expect(new Set(seen.flows.values())).toEqual(new Set(['10 packets, 1540 bytes, 1000 payload']));
      expect(source.counters().overflowed).toBeGreaterThan(1000);
      expect(source.counters().dropped).toBe(0);
    });
  });

  it('counts the payload and the segments that real connections carry, offloaded or not', async () => {
    await withNamespace(async ({ interface: device, namespace, far }) => {
      await withEchoServer(namespace, [PORT], async () => {
        const payload = 3_000_000;
        // All interfaces: a connection to ourselves crosses loopback, which shows its packets twice.
        const source = await openKernelFlows({ ports: new PortSet([PORT]), ...dependencies });
        // The ring sees each packet as the machine handled it: what was sent again is in its payload, too.
        const ring = new FlowWatcher(
          await openPacketRing({ ports: new PortSet([PORT]), ...dependencies }),
          isWatched,
        );
        const seen = await observeFlows(source, isWatched, async () => {
          await exchange(far.ipv4, PORT, payload);
          await exchange(far.ipv6, PORT, payload);
        });
        // In the order of their size: the tables have the flows in that of their last packets.
        const payloads = ({ sides }: Seen): number[] =>
          sides.map(({ payloadBytes }) => payloadBytes).toSorted((one, other) => one - other);
        expect(payloads(seen)).toEqual(payloads(await ring.stop()));
        expect(payloads(seen).every((bytes) => bytes >= payload)).toBe(true);
        expect(seen.sides).toHaveLength(4);
        for (const { packets, bytes, payloadBytes, headers } of seen.sides) {
          expect(packets).toBeGreaterThanOrEqual(Math.ceil(payloadBytes / 1448));
          // Every packet has a TCP header of 20 to 60 bytes; an ordinary one has 32.
          expect(bytes - payloadBytes).toBeGreaterThan(packets * (headers - 12));
          expect(bytes - payloadBytes).toBeLessThan(packets * (headers + 28));
        }
        expect(seen.frames).toBeLessThan(100);
        expect(seen.interfaces).toEqual(new Set([device]));
      });
    });
  });

  it('follows the ports that it is given while it runs', async () => {
    await withNamespace(async (link) => {
      const source = await openKernelFlows({
        interface: link.interface,
        ports: new PortSet([PORT]),
        ...dependencies,
      });
      const frames = [PORT, OTHER_PORT].map((port) =>
        tcpFrame({ from: '10.9.0.1:5', to: `10.9.0.2:${port}`, flags: 'A' }),
      );
      const seen = await observeFlows(source, isWatched, async () => {
        await replay(link, frames);
        source.setPorts(new PortSet([OTHER_PORT]));
        await replay(link, frames, '--loop', '4');
      });
      expect([...seen.flows.values()].map((text) => text.split(',')[0])).toEqual(['1 packets', '4 packets']);
    });
  });

  it('hands up the packets that are asked for: of one flow, the first of all, one in N', async () => {
    await withNamespace(async (link) => {
      const options = { interface: link.interface, ports: new PortSet([PORT]), ...dependencies };
      const frame = tcpFrame({ from: '10.9.0.1:5', to: `10.9.0.2:${PORT}`, flags: 'A', payload: 100 });
      const source = await openKernelFlows(options);
      const flow = {
        ...mapped('source', 0x0a090001),
        ...mapped('destination', 0x0a090002),
        sourcePort: 5,
        destinationPort: PORT,
      };
      const seen = await observeFlows(source, isWatched, async (watcher) => {
        await replay(link, [frame], '--loop', '10');
        await vi.waitFor(() => expect(watcher.frames).toBe(1), WAIT);
        source.wantPackets(flow, 3);
        await replay(link, [frame], '--loop', '10');
        await vi.waitFor(() => expect(watcher.frames).toBe(4), WAIT);
        source.wantPackets(flow, Infinity);
        await replay(link, [frame], '--loop', '10');
        await vi.waitFor(() => expect(watcher.frames).toBe(14), WAIT);
        source.wantPackets(flow, 0);
        await replay(link, [frame], '--loop', '10');
      });
      expect(seen.frames).toBe(14);
      expect([...seen.flows.values()]).toEqual(['40 packets, 6160 bytes, 4000 payload']);

      const early = await openKernelFlows(options);
      early.wantFirstPackets(4);
      const first = await observeFlows(early, isWatched, () => replay(link, manyFlows(20), '--loop', '10'));
      expect(first.frames).toBe(80);
      expect(new Set(first.flows.values())).toEqual(new Set(['10 packets, 1540 bytes, 1000 payload']));

      const sampled = await observeFlows(
        await openKernelFlows({ ...options, sampleEvery: 10 }),
        isWatched,
        () => replay(link, [frame], '--loop', '10000', '--pps', '50000'),
      );
      expect(sampled.frames).toBeGreaterThan(500);
      expect(sampled.frames).toBeLessThan(2000);
      expect([...sampled.flows.values()]).toEqual(['10000 packets, 1540000 bytes, 1000000 payload']);
    });
  });

  it('counts a packet that crosses two interfaces on the first of them', async () => {
    await withNamespace(async (link) => {
      const bridge = `${link.interface.slice(0, 13)}b`;
      await ip('link', 'add', bridge, 'type', 'bridge');
      try {
        await ip('link', 'set', link.interface, 'master', bridge);
        await ip('link', 'set', bridge, 'up');
        const source = await openKernelFlows({ ports: new PortSet([PORT]), ...dependencies });
        const seen = await observeFlows(source, isWatched, () =>
          replay(link, manyFlows(50, 'ffffffffffff'), '--loop', '20'),
        );
        expect(new Set(seen.flows.values())).toEqual(new Set(['20 packets, 3080 bytes, 2000 payload']));
        expect(seen.interfaces).toEqual(new Set([link.interface]));
      } finally {
        await ip('link', 'del', bridge);
      }
    });
  });

  it.skipIf(lacksIperf)(
    'reports each of 100 strangers with one SYN in the middle of bulk within half a second (needs iperf3)',
    { timeout: 40_000 },
    async () => {
      await withNamespace(async (link) => {
        const latenciesMs = new Map<string, number>();
        const pipeline = new Pipeline({
          node: 'w1',
          policy: await allowOnly(link.near.ipv4, link.far.ipv4),
          maxFlows: 131_072,
          countOnOneInterface: true,
          createId: () => `anomaly-${latenciesMs.size}`,
          interfaceName: () => undefined,
          reportAnomaly: ({ first, flow }) => {
            latenciesMs.set(flow?.source.ip ?? '?', systemClock.now() - Date.parse(first));
          },
          reportFlow: () => {},
          reportEvidence: () => {},
          wantPackets: () => {},
        });
        const source = await openKernelFlows({ ports: new PortSet([PORT]), ...dependencies });
        const running = source.run(pipeline);
        const server = await startIperf(link);
        try {
          const bulk = promisify(execFile)('iperf3', [
            '-J',
            '-c',
            link.far.ipv4,
            '-p',
            String(PORT),
            '-t',
            '6',
          ]);
          const strangers = Array.from({ length: 100 }, (_, index) =>
            tcpFrame({ from: `192.0.2.${index + 1}:5000`, to: `${link.near.ipv4}:${PORT}`, flags: 'S' }),
          );
          await replay(link, strangers, '--pps', '20');
          const { end } = JSON.parse((await bulk).stdout) as { end: { sum_sent: { bytes: number } } };
          await vi.waitFor(() => expect(latenciesMs.size).toBe(100), WAIT);
          expect(Math.max(...latenciesMs.values())).toBeLessThan(500);
          source.stop();
          await running;
          expect(source.counters().dropped).toBe(0);
          // All that iperf3 sent, its words on the control connection, and the headers.
          expect(pipeline.totals().bytes).toBeGreaterThan(end.sum_sent.bytes);
        } finally {
          source.stop();
          await running;
          await endChild(server);
        }
      });
    },
  );

  it('reports a stranger in the middle of a flood of SYNs, once, and counts what it had to forget', async () => {
    await withNamespace(async (link) => {
      const reports: { peer: string | undefined; latencyMs: number }[] = [];
      const maxFlows = 16_384;
      const pipeline = new Pipeline({
        node: 'w1',
        policy: await allowOnly(link.near.ipv4, ...FLOODING_MEMBERS),
        maxFlows,
        countOnOneInterface: true,
        createId: () => `anomaly-${reports.length}`,
        interfaceName: () => undefined,
        reportAnomaly: ({ first, flow }) => {
          reports.push({ peer: flow?.source.ip, latencyMs: systemClock.now() - Date.parse(first) });
        },
        reportFlow: () => {},
        reportEvidence: () => {},
        wantPackets: () => {},
      });
      const to = `${link.near.ipv4}:${PORT}`;
      const attempts = FLOODING_MEMBERS.flatMap((member) =>
        Array.from({ length: 50_000 }, (_, port) => tcpFrame({ from: `${member}:${port}`, to, flags: 'S' })),
      );
      attempts.splice(attempts.length / 2, 0, tcpFrame({ from: '192.0.2.1:5000', to, flags: 'S' }));
      const source = await openKernelFlows({
        interface: link.interface,
        ports: new PortSet([PORT]),
        ...dependencies,
      });
      const running = source.run(pipeline);
      await replay(link, attempts, '--pps', '100000');
      source.stop();
      await running;
      expect(source.counters()).toEqual({ received: attempts.length, dropped: 0, overflowed: 0 });
      const { flows, openFlows, evictedFlows } = pipeline.totals();
      expect([flows, openFlows, evictedFlows]).toEqual([
        attempts.length,
        maxFlows,
        attempts.length - maxFlows,
      ]);
      expect(reports.map(({ peer }) => peer)).toEqual(['192.0.2.1']);
      expect(reports[0]?.latencyMs).toBeLessThan(2000);
    });
  });

  it(
    'takes a connection out that is over and silent, and loses no count by it',
    { timeout: 30_000 },
    async () => {
      await withNamespace(async (link) => {
        const source = await openKernelFlows({
          interface: link.interface,
          ports: new PortSet([PORT]),
          ...dependencies,
        });
        const there = { from: '10.9.0.1:5', to: `10.9.0.2:${PORT}`, payload: 100 };
        let attempts = 0;
        const seen = await observeFlows(source, isWatched, async (watcher) => {
          await replay(
            link,
            [tcpFrame({ ...there, flags: 'FA' }), tcpFrame({ ...there, flags: 'A' })],
            '--loop',
            '5',
          );
          // Each attempt is a packet that would keep the entry alive, were it not silent for longer between them.
          await vi.waitFor(
            async () => {
              const before = watcher.frames;
              await replay(link, [tcpFrame({ ...there, flags: 'A' })]);
              attempts++;
              await vi.waitFor(() => expect(watcher.frames).toBe(before + 1), { timeout: 500 });
            },
            { timeout: 25_000, interval: 3500 },
          );
        });
        const packets = 10 + attempts;
        expect([...seen.flows.values()]).toEqual([
          `${packets} packets, ${packets * 154} bytes, ${packets * 100} payload`,
        ]);
      });
    },
  );

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
      for (let round = 0; round < FLAP_ROUNDS; round++) {
        await withNamespace(async (link) => {
          const words = ['netns', 'exec', link.namespace, process.execPath, '--input-type=module'];
          const child = spawn('ip', [...words, '-e', COUNT_PACKETS], { stdio: ['pipe', 'pipe', 'inherit'] });
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
        const quiet = (name: string): string[] => ['sysctl', '-qw', `net.ipv6.conf.${name}.disable_ipv6=1`];
        await promisify(execFile)('sysctl', quiet(link.interface).slice(1));
        await ip('netns', 'exec', link.namespace, ...quiet('far0'));
        const server = await startIperf(link);
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
            await promisify(execFile)('iperf3', ['-c', link.far.ipv4, '-p', `${PORT}`, '-t', '2']);
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
});

/** Counts until its standard input ends. */
const COUNT_PACKETS = `
  import { openKernelFlows } from '${packagePath('dist/agent/capture/linux/kernel-flows.js')}';
  import { PortSet } from '${packagePath('dist/agent/capture/source.js')}';
  import { systemClock as clock } from '${packagePath('dist/common/clock.js')}';
  import { silentLogger as logger } from '${packagePath('dist/common/log.js')}';
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
    const words = ['-i', this.#interface, '-U', '-w', '-', `not tcp port ${PORT}`];
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

/** All bytes, in and out. */
async function interfaceBytes(name: string): Promise<number> {
  const read = async (direction: string): Promise<number> =>
    Number(await readFile(`/sys/class/net/${name}/statistics/${direction}_bytes`, 'utf8'));
  return (await read('rx')) + (await read('tx'));
}

/** An iperf3 server at the far end of the link, which listens. */
async function startIperf(link: NamespaceLink): Promise<ChildProcess> {
  const words = ['netns', 'exec', link.namespace];
  const server = spawn('ip', [...words, 'iperf3', '-s', '-p', String(PORT)], { stdio: 'ignore' });
  await vi.waitFor(() => promisify(execFile)('ip', [...words, 'sh', '-c', LISTENS]), WAIT);
  return server;
}

const FLOODING_MEMBERS = ['10.4.0.1', '10.4.0.2', '10.4.0.3', '10.4.0.4'];

/** Succeeds once iperf3 listens. */
const LISTENS = `grep -qi ':${PORT.toString(16).padStart(4, '0')} .* 0A ' /proc/net/tcp /proc/net/tcp6`;

/** Two members who may talk to each other; everybody else is a stranger. */
async function allowOnly(...members: string[]): Promise<Policy> {
  const membership = new Membership({
    providers: new Map([
      ['cluster', [new FakeProvider(membersView(...members.map((one) => `${one}:${PORT}`)))]],
    ]),
    clock: systemClock,
  });
  await membership.start();
  const ruleset = new Ruleset({
    services: new Map([['object-manager', 'auto']]),
    groups: new Map(),
    rules: [sampleRule()],
  });
  return { ruleset, membership };
}

function isWatched(port: number): boolean {
  return port === PORT || port === OTHER_PORT;
}

/** One data packet of 154 bytes each. */
function manyFlows(count: number, destinationMac = '000000000000'): Uint8Array[] {
  return Array.from({ length: count }, (_, index) => {
    const frame = tcpFrame({
      from: `10.1.${index >>> 8}.${index & 255}:${1024 + index}`,
      to: `10.9.0.2:${PORT}`,
      flags: 'A',
      payload: 100,
    });
    frame.set(Buffer.from(destinationMac, 'hex'));
    return frame;
  });
}

/** A connection from a client's one port, of which every number carries another amount and ends otherwise. */
function connectionOf(client: string, number: number): Uint8Array[] {
  const sequence = 1 + number * 100_000;
  const there = { from: `${client}:5`, to: `10.9.0.2:${PORT}` };
  const back = { from: there.to, to: there.from };
  return [
    { ...there, flags: 'S', sequence },
    { ...back, flags: 'SA', sequence: 9, acknowledgment: sequence + 1 },
    ...Array.from({ length: 3 + number }, (_, index) => ({
      ...there,
      flags: 'A',
      sequence: sequence + 1 + index * 100,
      acknowledgment: 10,
      payload: 100,
    })),
    { ...back, flags: 'A', sequence: 10, acknowledgment: sequence + 1, payload: 7 * (number + 1) },
    { ...back, flags: 'A', sequence: 10, acknowledgment: sequence + 2 },
    ...(number % 2 === 0 ? [{ ...there, flags: 'R', sequence: sequence + 400 }] : []),
  ].map((segment) => tcpFrame(segment));
}

/** Handshake, data both ways, and the end. */
function manyConnections(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, index) => {
    const client = `10.2.${index >>> 8}.${index & 255}:${2048 + index}`;
    const server = `10.9.0.2:${PORT}`;
    const there = { from: client, to: server };
    const back = { from: server, to: client };
    return [
      { ...there, flags: 'S', sequence: 1 },
      { ...back, flags: 'SA', sequence: 9, acknowledgment: 2 },
      { ...there, flags: 'A', sequence: 2, acknowledgment: 10 },
      { ...there, flags: 'AP', sequence: 2, acknowledgment: 10, payload: 1000 },
      { ...back, flags: 'AP', sequence: 10, acknowledgment: 1002, payload: 7 },
      { ...back, flags: 'A', sequence: 17, acknowledgment: 1002, payload: 1400 },
      ...(index % 2 === 0 ? [{ ...there, flags: 'FA', sequence: 1002, acknowledgment: 1417 }] : []),
      ...(index % 3 === 0 ? [{ ...back, flags: 'R', sequence: 1417 }] : []),
    ].map((segment) => tcpFrame(segment));
  }).flat();
}

/** One connection each: with tags, padding, options, extension headers, and fragments. */
function oddFrames(): Uint8Array[] {
  const to = PORT.toString(16).padStart(4, '0');
  const tcp = (from: string, flags = '10'): string =>
    `${from}${to} 00000001 00000001 50${flags} ffff 0000 0000 01020304`;
  const ipv4 = (rest: string, { head = '4500002c', fragment = '0000', options = '' } = {}): string =>
    `${head} 0001${fragment} 40060000 0a030001 0a090002 ${options} ${rest}`;
  const ipv6 = (next: string, length: string, rest: string): string =>
    `60000000 ${length} ${next} 40 20010db8000000000000000000000001 20010db8000000000000000000000002 ${rest}`;
  const ethernet = '000000000000 020000000001';
  return [
    `${ethernet} 81000005 0800 ${ipv4(tcp('1001'))}`,
    `${ethernet} 88a80005 81000007 0800 ${ipv4(tcp('1002'))}`,
    `${ethernet} 88a80005 81004507 0800 ${ipv4(tcp('1003'))}`,
    `${ethernet} 81000005 86dd ${ipv6('06', '0018', tcp('1004'))}`,
    `${ethernet} 0800 ${ipv4(tcp('1005'))} 000000000000`,
    `${ethernet} 0800 ${ipv4(tcp('1006'), { head: '46000030', options: '01010101' })}`,
    `${ethernet} 86dd ${ipv6('06', '0018', tcp('1007'))}`,
    `${ethernet} 86dd ${ipv6('00', '0020', `0600010400000000 ${tcp('1008')}`)}`,
    `${ethernet} 86dd ${ipv6('00', '0034', `3300010400000000 0603000000000000000000000000000000000000 ${tcp('1009')}`)}`,
    `${ethernet} 86dd ${ipv6('2c', '0020', `0600000100000001 ${tcp('100a')}`)}`,
    `${ethernet} 0800 ${ipv4(tcp('100b'), { fragment: '2000' })}`,
    `${ethernet} 0800 ${ipv4(tcp('100c', '18'))}`,
  ].map((hex) => Buffer.from(hex.replaceAll(' ', ''), 'hex'));
}

/** A connection each, in the tunnels that are looked into: the outside is IPv4 or IPv6, the inside, too. */
function tunnelledFrames(port = PORT): Uint8Array[] {
  let client = 0x2000;
  const tcp = (): string =>
    `${(++client).toString(16)}${hex(port, 2)} 00000001 00000001 5010 ffff 0000 0000 01020304`;
  const ipv4 = (protocol: string, rest: string, ends = '0a030001 0a090002'): string =>
    `4500 ${hex(20 + lengthOf(rest), 2)} 0001 0000 40${protocol}0000 ${ends} ${rest}`;
  const ipv6 = (protocol: string, rest: string): string =>
    `60000000 ${hex(lengthOf(rest), 2)} ${protocol}40 ${V6_ENDS} ${rest}`;
  const udp = (to: number, rest: string): string =>
    `3039 ${hex(to, 2)} ${hex(8 + lengthOf(rest), 2)} 0000 ${rest}`;
  const inner4 = (): string => ipv4('06', tcp());
  const inner6 = (): string => ipv6('06', tcp());
  const frame = (type: string, rest: string): string => `020000000002 020000000001 ${type} ${rest}`;
  const outer = (protocol: string, rest: string): string =>
    frame('0800', ipv4(protocol, rest, '0a0a0001 0a0a0002'));
  return [
    outer('11', udp(4789, `0800000000000700 ${frame('0800', inner4())}`)),
    outer('11', udp(8472, `0800000000000700 ${frame('86dd', inner6())}`)),
    frame('86dd', ipv6('11', udp(4789, `0800000000000700 ${frame('0800', inner4())}`))),
    outer('11', udp(6081, `0000655800000700 ${frame('0800', inner4())}`)),
    outer('11', udp(6081, `020086dd00000700 0102030405060708 ${inner6()}`)),
    outer('2f', `00000800 ${inner4()}`),
    outer('2f', `20006558 00000007 ${frame('86dd', inner6())}`),
    outer('2f', `b000 86dd 00000000 00000007 00000001 ${inner6()}`),
    outer('04', inner4()),
    outer('29', inner6()),
    frame('86dd', ipv6('04', inner4())),
  ].map((text) => Buffer.from(text.replaceAll(' ', ''), 'hex'));
}

const V6_ENDS = '20010db8000000000000000000000001 20010db8000000000000000000000002';

function hex(number: number, bytes: number): string {
  return number.toString(16).padStart(bytes * 2, '0');
}

function lengthOf(text: string): number {
  return text.replaceAll(' ', '').length / 2;
}

function isSyn(frame: Uint8Array): boolean {
  return frame[12] === 0x08 && frame[14] === 0x45 && ((frame[47] ?? 0) & 2) !== 0;
}

/** An IPv4 address as `FlowCounts` has it. */
function mapped<End extends 'source' | 'destination'>(
  end: End,
  address: number,
): Record<`${End}${0 | 1 | 2 | 3}`, number> {
  return {
    [`${end}0`]: 0,
    [`${end}1`]: 0,
    [`${end}2`]: IPV4_MAPPED_WORD,
    [`${end}3`]: address,
  } as Record<`${End}${0 | 1 | 2 | 3}`, number>;
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
