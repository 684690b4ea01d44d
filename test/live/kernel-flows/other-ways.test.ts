/** The kernel, the ring and libpcap see the same connections in the same traffic. */
import { describe, expect, it, vi } from 'vitest';
import { openLibpcap } from '../../../agent/capture/libpcap.ts';
import { openKernelFlows } from '../../../agent/capture/linux/kernel-flows.ts';
import { openPacketRing } from '../../../agent/capture/linux/packet-ring.ts';
import { PortSet } from '../../../agent/capture/source.ts';
import { exchange } from '../../support/exchange.ts';
import { FlowWatcher, observeFlows, type Seen } from '../../support/flow-watcher.ts';
import { ip, missingForNamespaces, withEchoServer, withNamespace } from '../../support/netns.ts';
import { tcpFrame } from '../../support/pcap-bytes.ts';
import { replay } from '../../support/replay-frames.ts';
import {
  contradictingFrames,
  dependencies,
  isSyn,
  isWatched,
  manyConnections,
  oddFrames,
  OTHER_PORT,
  PORT,
  tunnelledFrames,
  WAIT,
} from './traffic.ts';

const missing = missingForNamespaces('tcpreplay');

const SOURCES = [
  { name: 'kernel', open: openKernelFlows },
  { name: 'ring', open: openPacketRing },
  { name: 'cap', open: openLibpcap },
] as const;

describe.skipIf(missing !== undefined)(
  `the same flows in three ways (needs ${missing ?? 'nothing more'})`,
  () => {
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

    it('cuts off what stands behind a header, and enters other tunnels, as the ring and libpcap do', async () => {
      await withNamespace(async (link) => {
        const options = { interface: link.interface, ports: new PortSet([PORT]), ...dependencies };
        const sources = await Promise.all(SOURCES.map(({ open }) => open(options)));
        const watchers = sources.map((source) => new FlowWatcher(source, isWatched));
        const { seen: frames, unseen } = contradictingFrames();
        await replay(link, [...unseen, ...frames], '--pps', '500', '--loop', '3');
        await vi.waitFor(() => expect(watchers[0]?.table.size).toBe(frames.length), WAIT);
        await vi.waitFor(() => expect(watchers[2]?.frames).toBe(3 * frames.length), WAIT);
        const seen = await Promise.all(watchers.map((watcher) => watcher.stop()));
        expect(seen[1]?.flows.size).toBe(frames.length);
        expect(seen[0]?.flows).toEqual(seen[1]?.flows);
        expect(seen[2]?.flows).toEqual(seen[1]?.flows);
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
  },
);
