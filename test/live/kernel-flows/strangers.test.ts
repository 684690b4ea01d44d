/** An unknown peer is reported in time, however much else there is. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it, vi } from 'vitest';
import { openKernelFlows } from '../../../agent/capture/linux/kernel-flows.ts';
import { PortSet } from '../../../agent/capture/source.ts';
import { Membership } from '../../../agent/membership/membership.ts';
import { Pipeline, type Policy } from '../../../agent/pipeline.ts';
import { systemClock } from '../../../common/clock.ts';
import { Ruleset } from '../../../rules/match.ts';
import { FakeProvider, membersView } from '../../support/fake-provider.ts';
import { startIperf } from '../../support/iperf.ts';
import { endChild, missingForNamespaces, withNamespace } from '../../support/netns.ts';
import { tcpFrame } from '../../support/pcap-bytes.ts';
import { replay } from '../../support/replay-frames.ts';
import { sampleRule } from '../../support/sample-rule.ts';
import { dependencies, PORT, WAIT } from './traffic.ts';

const missing = missingForNamespaces('tcpreplay');
const lacksIperf = missingForNamespaces('iperf3') !== undefined;

const FLOODING_MEMBERS = ['10.4.0.1', '10.4.0.2', '10.4.0.3', '10.4.0.4'];

describe.skipIf(missing !== undefined)(
  `strangers among other traffic (needs ${missing ?? 'nothing more'})`,
  () => {
    it.skipIf(lacksIperf)(
      'reports each of 100 unknown peers with a handshake in the middle of bulk within half a second (needs iperf3)',
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
          const server = await startIperf(link, PORT);
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
            const handshakes = Array.from({ length: 100 }, (_, index) =>
              handshake(`192.0.2.${index + 1}:5000`, `${link.near.ipv4}:${PORT}`),
            );
            await replay(link, handshakes.flat(), '--pps', '60');
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

    it('reports an unknown peer in the middle of a flood of SYNs, once, and counts what it had to forget', async () => {
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
        const flood = FLOODING_MEMBERS.map((member) =>
          Array.from({ length: 50_000 }, (_, port) =>
            tcpFrame({ from: `${member}:${port}`, to, flags: 'S' }),
          ),
        );
        // What is not answered is sent again: it is not lost with the first packet that a busy machine drops.
        const frames = flood.flatMap((attempts) => attempts.concat(handshake('192.0.2.1:5000', to)));
        const source = await openKernelFlows({
          interface: link.interface,
          ports: new PortSet([PORT]),
          ...dependencies,
        });
        const running = source.run(pipeline);
        await replay(link, frames, '--pps', '100000');
        source.stop();
        await running;
        const { received, dropped } = source.counters();
        expect(received).toBe(frames.length);
        const { packets, flows, openFlows, evictedFlows } = pipeline.totals();
        expect(packets).toBe(received - (dropped ?? 0));
        expect([openFlows, evictedFlows]).toEqual([maxFlows, flows - maxFlows]);
        expect(reports.map(({ peer }) => peer)).toEqual(['192.0.2.1']);
        expect(reports[0]?.latencyMs).toBeLessThan(2000);
      });
    });
  },
);

function handshake(from: string, to: string): Uint8Array[] {
  return [
    tcpFrame({ from, to, flags: 'S', sequence: 1 }),
    tcpFrame({ from: to, to: from, flags: 'SA', sequence: 9, acknowledgment: 2 }),
    tcpFrame({ from, to, flags: 'A', sequence: 2, acknowledgment: 10 }),
  ];
}

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
