/** The tables of the kernel's way of capturing have a size; who fills them hides nobody. */
import { describe, expect, it, vi } from 'vitest';
import { openKernelFlows } from '../../../agent/capture/linux/kernel-flows.ts';
import { type PacketSource, PortSet } from '../../../agent/capture/source.ts';
import { systemClock } from '../../../common/clock.ts';
import { TUNNEL_SEED } from '../../support/flow-watcher.ts';
import { openPipeline } from '../../support/judging-pipeline.ts';
import { missingForNamespaces, withNamespace, type NamespaceLink } from '../../support/netns.ts';
import { tcpFrame } from '../../support/pcap-bytes.ts';
import { replay } from '../../support/replay-frames.ts';
import { dependencies, PORT, WAIT } from './traffic.ts';

const missing = missingForNamespaces('tcpreplay');
const NODE = `10.9.0.2:${PORT}`;
const PEER = '192.0.2.1';
/** Of the table of flows: two directions of each connection. */
const MAX_DIRECTIONS = 512;
/** Of the queue of flows that another connection took the place of (ended-flows.ts), and the capture requests. */
const MAX_ENDED = 8192;
const MAX_WANTED = 1024;

describe.skipIf(missing !== undefined)(
  `a full table of the kernel (needs ${missing ?? 'nothing more'})`,
  () => {
    it.each<[string, number, (link: NamespaceLink, source: PacketSource) => Promise<void>]>([
      ['flows', MAX_DIRECTIONS, (link) => replay(link, data(2000), '--pps', '20000')],
      [
        'flows that another connection took the place of',
        4 * MAX_ENDED,
        async (link) => {
          await replay(link, data(MAX_ENDED + 1000), '--pps', '20000');
          await replay(link, openings(MAX_ENDED + 1000));
        },
      ],
      [
        'capture requests',
        MAX_DIRECTIONS,
        (_link, source) => {
          for (let port = 1; port <= MAX_WANTED + 500; port++) source.wantPackets(direction(port), 1000);
          return Promise.resolve();
        },
      ],
    ])('of %s hides no unknown peer', { timeout: 60_000 }, async (_table, maxDirections, fill) => {
      await withNamespace(async (link) => {
        const { pipeline, anomalies } = await openPipeline({
          members: [`10.9.0.2:${PORT}`, `10.9.0.3:${PORT}`],
          clock: systemClock,
          maxFlows: 131_072,
          hashSeed: TUNNEL_SEED,
        });
        const source = await openKernelFlows({
          interface: link.interface,
          ports: new PortSet([PORT]),
          maxDirections,
          ...dependencies,
        });
        const running = source.run(pipeline);
        const timer = setInterval(() => pipeline.tick(systemClock.now()), 500);
        try {
          await fill(link, source);
          await replay(link, theft(), '--pps', '2000');
          const ofPeer = () => anomalies.filter(({ flow }) => flow?.source.ip === PEER);
          await vi.waitFor(() => expect(ofPeer()[0]?.severity).toBe('critical'), WAIT);
          await vi.waitFor(() => expect(ofPeer().at(-1)?.bytes).toBeGreaterThan(1_000_000), {
            timeout: 25_000,
          });
        } finally {
          clearInterval(timer);
          source.stop();
          await running;
        }
      });
    });
  },
);

/** A segment each of connections that began before anybody looked, between members. */
function data(count: number): Uint8Array[] {
  return clients(count).map((from) => tcpFrame({ from, to: NODE, flags: 'A', sequence: 5, payload: 10 }));
}

/** A SYN each between the same ends. */
function openings(count: number): Uint8Array[] {
  return clients(count).map((from) => tcpFrame({ from, to: NODE, flags: 'S', sequence: 77_777 }));
}

function clients(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `10.9.0.3:${1024 + index}`);
}

/** The unknown peer completes a handshake and is sent a megabyte. */
function theft(): Uint8Array[] {
  const there = { from: `${PEER}:5000`, to: NODE };
  const back = { from: NODE, to: `${PEER}:5000` };
  const segments = Array.from({ length: 750 }, (_, index) =>
    tcpFrame({ ...back, flags: 'A', sequence: 10 + index * 1400, acknowledgment: 2, payload: 1400 }),
  );
  return [
    tcpFrame({ ...there, flags: 'S', sequence: 1 }),
    tcpFrame({ ...back, flags: 'SA', sequence: 9, acknowledgment: 2 }),
    tcpFrame({ ...there, flags: 'A', sequence: 2, acknowledgment: 10 }),
    ...segments,
  ];
}

function direction(sourcePort: number): Parameters<PacketSource['wantPackets']>[0] {
  const ends = { source0: 0, source1: 0, source2: 0xffff, source3: 0x0a090003 };
  const others = { destination0: 0, destination1: 0, destination2: 0xffff, destination3: 0x0a090002 };
  return { ...ends, ...others, sourcePort, destinationPort: PORT, tunnelKey: 0 };
}
