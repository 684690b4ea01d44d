/** Counting in the kernel, on the real kernel: every packet once, whatever way it took. */
import { describe, expect, it, vi } from 'vitest';
import { openKernelFlows } from '../../../agent/capture/linux/kernel-flows.ts';
import { openPacketRing } from '../../../agent/capture/linux/packet-ring.ts';
import { PortSet } from '../../../agent/capture/source.ts';
import { IPV4_MAPPED_WORD } from '../../../common/address.ts';
import { exchange } from '../../support/exchange.ts';
import { FlowWatcher, observeFlows, type Seen } from '../../support/flow-watcher.ts';
import { ip, missingForNamespaces, withEchoServer, withNamespace } from '../../support/netns.ts';
import { tcpFrame } from '../../support/pcap-bytes.ts';
import { replay } from '../../support/replay-frames.ts';
import { dependencies, isWatched, manyFlows, OTHER_PORT, PORT, WAIT } from './traffic.ts';

const missing = missingForNamespaces('tcpreplay');

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
        tunnelKey: 0,
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

  it('counts a connection whose ends somebody forges on another interface', async () => {
    await withNamespace(async (link) => {
      await withNamespace(async (other) => {
        const source = await openKernelFlows({ ports: new PortSet([PORT]), ...dependencies });
        const there = { from: '10.9.0.1:5', to: `10.9.0.2:${PORT}` };
        const back = { from: there.to, to: there.from };
        const forged = [there, back].map((ends) => tcpFrame({ ...ends, flags: 'F' }));
        const seen = await observeFlows(source, isWatched, async () => {
          const real = [
            { ...there, flags: 'S', sequence: 1 },
            { ...back, flags: 'SA', sequence: 9, acknowledgment: 2 },
            { ...there, flags: 'A', sequence: 2, acknowledgment: 10 },
            ...Array.from({ length: 10 }, (_, index) => ({
              ...back,
              flags: 'A',
              sequence: 10 + index * 1000,
              acknowledgment: 2,
              payload: 1000,
            })),
          ];
          for (const segment of real) {
            await replay(link, [tcpFrame(segment)]);
            await replay(other, forged);
          }
        });
        expect([...seen.states.values()]).toEqual(['closed']);
        expect(seen.sides.map(({ payloadBytes }) => payloadBytes)).toEqual([0, 10_000]);
      });
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
});

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
