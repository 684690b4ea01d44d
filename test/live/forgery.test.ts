/** Forged packets around connections, on the real kernel and in every way of capturing. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { promisify } from 'node:util';
import { describe, expect, it, vi } from 'vitest';
import { CAPTURE_WAYS, openLiveSource, type CaptureWay } from '../../agent/capture/live.ts';
import { loadLibc } from '../../agent/capture/linux/libc.ts';
import { readTunnelInterfaces } from '../../agent/capture/linux/tunnel-interfaces.ts';
import { PortSet } from '../../agent/capture/source.ts';
import { SockDiag } from '../../agent/process/sock-diag.ts';
import { SocketRoles } from '../../agent/process/socket-roles.ts';
import { formatAddress, type Address } from '../../common/address.ts';
import { systemClock } from '../../common/clock.ts';
import { silentLogger } from '../../common/log.ts';
import { frameOfSegment } from '../support/forged-frames.ts';
import { interleave, type Ends } from '../support/forgery.ts';
import { freePort } from '../support/free-port.ts';
import { openPipeline, type JudgingPipeline } from '../support/judging-pipeline.ts';
import { ip, missingForNamespaces, withNamespace, type NamespaceLink } from '../support/netns.ts';
import { replay } from '../support/replay-frames.ts';
import { seededRandom } from '../support/seeded-random.ts';

const missing = missingForNamespaces('tcpreplay');
const PORT = await freePort();
const MEMBER = '10.9.0.2';
const INTERLEAVINGS = 200;
const TUNNEL_SEED = 0x1234_5677;
const WAIT = { timeout: 15_000, interval: 50 };

describe.skipIf(missing !== undefined)(`forged packets (needs ${missing ?? 'nothing more'})`, () => {
  describe.each(CAPTURE_WAYS)('where packets are captured by %s', (way) => {
    it(`hide none of ${INTERLEAVINGS} connections that move data`, { timeout: 60_000 }, async () => {
      await withNamespace(async (link) => {
        const watch = await Watch.open(way, link, MEMBER);
        try {
          const peers = new Set<string>();
          const frames: Uint8Array[] = [];
          for (let index = 0; index < INTERLEAVINGS; index++) {
            const random = seededRandom(index);
            const peer = `192.0.2.${index}`;
            const ends: Ends = { client: `${peer}:${40_000 + index}`, server: `${MEMBER}:${PORT}` };
            frames.push(...interleave(ends, 'handshake', 12, random).segments.map(frameOfSegment));
            peers.add(peer);
          }
          // libpcap's buffer is small, and what it drops nobody can report.
          await replay(link, frames, '--pps', way === 'cap' ? '400' : '2000');
          await vi.waitFor(() => expect(watch.critical()).toEqual(peers), WAIT);
        } finally {
          await watch.close();
        }
      });
    });

    it('in a datagram that anybody may send do not turn the connection after it round', async () => {
      await withNamespace(async (link) => {
        const server = await dataServer(link);
        const { port } = server.address() as AddressInfo;
        const watch = await Watch.open(way, link, link.near.ipv4, port);
        try {
          const clientPort = 40_123;
          const forged = frameOfSegment({
            from: `${link.near.ipv4}:${port}`,
            to: `${link.far.ipv4}:${clientPort}`,
            flags: 'S',
            sequence: 7,
            acknowledgment: 0,
            payload: 0,
            tunnel: undefined,
          });
          await inNamespace(link, attack(link.near.ipv4, port, clientPort, forged));
          await vi.waitFor(() => expect(watch.critical()).toEqual(new Set([link.far.ipv4])), WAIT);
        } finally {
          await watch.close();
          server.close();
        }
      });
    });
  });

  it(
    'are told from what an interface of this node unwraps, which is seen once',
    { timeout: 30_000 },
    async () => {
      await withNamespace(async (link) => {
        const device = `v${link.interface}`.slice(0, 15);
        const inner = { near: '10.77.55.1', far: '10.77.55.2' };
        const vxlan = (local: string, remote: string): string[] =>
          `type vxlan id 42 dstport 4789 local ${local} remote ${remote}`.split(' ');
        await ip('link', 'add', device, ...vxlan(link.near.ipv4, link.far.ipv4));
        try {
          await ip('addr', 'add', `${inner.near}/24`, 'dev', device);
          await ip('link', 'set', device, 'up');
          await ip('-n', link.namespace, 'link', 'add', 'vx0', ...vxlan(link.far.ipv4, link.near.ipv4));
          await ip('-n', link.namespace, 'addr', 'add', `${inner.far}/24`, 'dev', 'vx0');
          await ip('-n', link.namespace, 'link', 'set', 'vx0', 'up');
          const server = await dataServer({ ...link, near: { ...link.near, ipv4: inner.near } });
          const { port } = server.address() as AddressInfo;
          const watch = await Watch.open('kernel', undefined, inner.near, port);
          try {
            await inNamespace(link, attack(inner.near, port, 40_124));
            await vi.waitFor(() => expect(watch.critical()).toEqual(new Set([inner.far])), WAIT);
            await vi.waitFor(() => expect(watch.bytes()).toBeGreaterThan(100_000), WAIT);
            const { unwrappedPackets } = watch.pipeline.totals();
            expect(unwrappedPackets).toBeGreaterThan(0);
            expect(watch.anomalies.every(({ flow }) => flow?.plasmawatch.tunnel === undefined)).toBe(true);
          } finally {
            await watch.close();
            server.close();
          }
        } finally {
          await ip('link', 'del', device);
        }
      });
    },
  );
});

/** A pipeline on a live source, as the agent has it. */
class Watch {
  readonly pipeline: JudgingPipeline['pipeline'];
  readonly anomalies: JudgingPipeline['anomalies'];
  readonly #close: () => Promise<void>;

  private constructor({ pipeline, anomalies }: JudgingPipeline, close: () => Promise<void>) {
    this.pipeline = pipeline;
    this.anomalies = anomalies;
    this.#close = close;
  }

  /** @param link whose near end is captured; undefined for all interfaces */
  static async open(
    way: CaptureWay,
    link: NamespaceLink | undefined,
    member: string,
    port = PORT,
  ): Promise<Watch> {
    const libc = await loadLibc();
    const sockDiag = await SockDiag.open();
    const isLocal = (address: Address): boolean => {
      const text = formatAddress(address);
      return [member, link?.near.ipv4].includes(text) || text.startsWith('198.18.');
    };
    const { source } = await openLiveSource({
      prefer: way,
      ...(link === undefined ? {} : { interface: link.interface }),
      ports: new PortSet([port]),
      tunnelSeed: TUNNEL_SEED,
      clock: systemClock,
      logger: silentLogger,
    });
    const judging = await openPipeline({
      members: [`${member}:${port}`],
      clock: systemClock,
      services: [{ first: port, last: port }],
      maxFlows: 16_384,
      hashSeed: TUNNEL_SEED,
      socketRoles: new SocketRoles({ isLocal, sockDiag, clock: systemClock }),
      tunnels: {
        interfaces: () => readTunnelInterfaces(libc),
        isLocal,
        isUnwrappedSeen: link === undefined,
      },
    });
    const timer = setInterval(() => judging.pipeline.tick(systemClock.now()), 500);
    const running = source.run(judging.pipeline);
    return new Watch(judging, async () => {
      clearInterval(timer);
      source.stop();
      await running;
      sockDiag.close();
    });
  }

  /** The addresses of which a critical anomaly was reported, none of them seen in a tunnel. */
  critical(): Set<string | undefined> {
    return new Set(
      this.anomalies
        .filter(({ severity, flow }) => severity === 'critical' && flow?.plasmawatch.tunnel === undefined)
        .map(({ flow }) => flow?.source.ip),
    );
  }

  bytes(): number {
    return this.pipeline.totals().bytes;
  }

  close(): Promise<void> {
    return this.#close();
  }
}

/** Gives whoever connects 100,000 bytes. */
async function dataServer({ near }: Pick<NamespaceLink, 'near'>): Promise<Server> {
  const server = createServer((socket) => socket.on('error', () => {}).end(Buffer.alloc(100_000)));
  server.listen(0, near.ipv4);
  await once(server, 'listening');
  return server;
}

async function inNamespace({ namespace }: NamespaceLink, script: string): Promise<void> {
  await promisify(execFile)('ip', ['netns', 'exec', namespace, process.execPath, '-e', script]);
}

/** Sends a frame in VXLAN, which needs no privilege, then connects and reads to the end. */
function attack(address: string, port: number, localPort: number, forged?: Uint8Array): string {
  const datagram =
    forged === undefined ? undefined : `0800000000000700${Buffer.from(forged).toString('hex')}`;
  return `
    const connect = () => {
      const socket = require('node:net').connect({ host: '${address}', port: ${port}, localPort: ${localPort} });
      socket.resume().on('error', () => process.exit(1));
    };
    const datagram = ${JSON.stringify(datagram ?? '')};
    if (datagram === '') connect();
    else {
      const udp = require('node:dgram').createSocket('udp4');
      udp.send(Buffer.from(datagram, 'hex'), 4789, '${address}', () => { udp.close(); setTimeout(connect, 200); });
    }`;
}
