import { setImmediate } from 'node:timers/promises';
import { beforeEach, describe, expect, it } from 'vitest';
import type { TunnelInterface } from '../../agent/capture/linux/tunnel-interfaces.ts';
import type { ProcessFinder } from '../../agent/detect/attribution.ts';
import type { SocketRole } from '../../agent/process/socket-roles.ts';
import { formatAddress, parsePrefix } from '../../common/address.ts';
import type { SocketOwner } from '../../common/event.ts';
import type { TrustedTunnel } from '../../common/tunnel.ts';
import type { ServicePorts } from '../../rules/schema.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { frameOfSegment } from '../support/forged-frames.ts';
import type { Segment } from '../support/forgery.ts';
import { openPipeline, sendFrame, type JudgingPipeline } from '../support/judging-pipeline.ts';

const START = Date.UTC(2026, 10, 23, 12) / 1000;
const NODE = '10.0.0.1:43800';
const PEER = '192.0.2.9:5555';
/** A member's connection to somebody outside, from a port whose number is watched. */
const OUTGOING = { local: '10.0.0.1:43800', remote: '192.0.2.9:443' };
/** The outer ends of forged tunnels (test/support/forged-frames.ts). */
const OUTER = { source: '203.0.113.77', destination: '10.0.0.1' };

/** What is left out of a segment. */
const NOTHING = {
  from: '',
  to: '',
  flags: '',
  sequence: 0,
  acknowledgment: 0,
  payload: 0,
  tunnel: undefined,
};

describe('the direction of a connection', () => {
  let judging: JudgingPipeline;
  let roles: Map<string, SocketRole>;
  let interfaces: TunnelInterface[];

  beforeEach(() => {
    roles = new Map();
    interfaces = [];
  });

  /** @param hasSockets whether the kernel is there to be asked, as it is on a node and not in a replay */
  async function create({
    hasSockets = false,
    tunnels = [],
    ...others
  }: {
    hasSockets?: boolean;
    tunnels?: TrustedTunnel[];
    workers?: ServicePorts;
    processes?: ProcessFinder;
  }) {
    judging = await openPipeline({
      members: ['10.0.0.1', '10.0.0.2'],
      clock: new FakeClock(START * 1000),
      services: [{ first: 43_800, last: 43_800 }],
      trustedTunnels: tunnels,
      ...others,
      ...(hasSockets
        ? { socketRoles: { of: ({ local, localPort }) => roles.get(`${formatAddress(local)}:${localPort}`) } }
        : {}),
      tunnels: {
        interfaces: () => interfaces,
        isLocal: (address) => formatAddress(address) === OUTER.destination,
        isUnwrappedSeen: true,
      },
    });
    const { pipeline } = judging;
    const send = (...segments: readonly Partial<Segment>[]): void => {
      for (const segment of segments) {
        sendFrame(pipeline, frameOfSegment({ ...NOTHING, ...segment }), START);
      }
    };
    return { pipeline, send };
  }

  const seen = (): string[] =>
    judging.anomalies.map(
      ({ kind, severity, flow }) => `${severity} ${kind} ${flow?.source.ip} > ${flow?.destination.ip}`,
    );

  const syn = { from: PEER, to: NODE, flags: 'S', sequence: 100 };
  const synAck = { from: NODE, to: PEER, flags: 'SA', sequence: 900, acknowledgment: 101 };
  const ack = { from: PEER, to: NODE, flags: 'A', sequence: 101, acknowledgment: 901 };
  const data = { ...ack, flags: 'PA', payload: 10 };
  const forgedSyn = { from: NODE, to: PEER, flags: 'S', sequence: 7 };
  const PULL = ['critical unexpected-peer 192.0.2.9 > 10.0.0.1'];

  it.each<[string, Partial<Segment>[]]>([
    ['nothing else', []],
    ['a SYN in the name of the node', [forgedSyn]],
    ['a SYN with FIN in the name of the node', [{ ...forgedSyn, flags: 'SF' }]],
    ['a SYN in VXLAN', [{ ...forgedSyn, tunnel: 'vxlan' }]],
    ['a SYN in GRE', [{ ...forgedSyn, tunnel: 'gre' }]],
    ['a SYN in IP in IP', [{ ...forgedSyn, tunnel: 'ipip' }]],
    [
      'a whole handshake in the other direction',
      [
        forgedSyn,
        { from: PEER, to: NODE, flags: 'SA', sequence: 55, acknowledgment: 8 },
        { from: NODE, to: PEER, flags: 'A', sequence: 8, acknowledgment: 56 },
      ],
    ],
    ['an answer with wrong numbers', [{ from: NODE, to: PEER, flags: 'SA', sequence: 1, acknowledgment: 2 }]],
    ['a reset in the name of the node', [{ from: NODE, to: PEER, flags: 'R', sequence: 1 }]],
    [
      'an end in the name of both',
      [
        { ...syn, flags: 'FA' },
        { from: NODE, to: PEER, flags: 'FA' },
      ],
    ],
  ])('is that of its own handshake, after %s', async (_name, forged) => {
    const { send } = await create({});
    send(...forged, syn, synAck, ack, data);
    expect(seen()).toEqual(expect.arrayContaining(PULL));
  });

  it('is open where nothing proves it, and then the stricter verdict holds', async () => {
    const { send } = await create({});
    send(data);
    expect(seen()).toEqual(PULL);
  });

  it('is known of a connection that both ends open, before it carries anything', async () => {
    const { send } = await create({});
    send(
      syn,
      { ...synAck, flags: 'S' },
      { ...syn, flags: 'SA', acknowledgment: 901 },
      { ...synAck, flags: 'A', sequence: 901 },
    );
    expect(seen()).toEqual(PULL);
  });

  it('is known of an upload of which only the answers are captured', async () => {
    const { send } = await create({});
    send(synAck, { ...synAck, flags: 'A', sequence: 901, acknowledgment: 1_000_000 });
    expect(seen()).toEqual(PULL);
  });

  it('is proven by a handshake: an outgoing connection from a port of a watched number is no intrusion', async () => {
    const { send, pipeline } = await create({});
    const { local, remote } = OUTGOING;
    send(
      { from: local, to: remote, flags: 'S', sequence: 1 },
      { from: remote, to: local, flags: 'SA', sequence: 5, acknowledgment: 2 },
      { from: local, to: remote, flags: 'A', sequence: 2, acknowledgment: 6 },
      { from: remote, to: local, flags: 'PA', sequence: 6, acknowledgment: 2, payload: 100 },
    );
    pipeline.end(START * 1000);
    expect(seen()).toEqual([]);
  });

  describe('joined midstream', () => {
    const midstream = {
      from: OUTGOING.remote,
      to: OUTGOING.local,
      flags: 'PA',
      sequence: 6,
      acknowledgment: 2,
      payload: 9,
    };

    it('is asked of the kernel: a listening socket at our end was called', async () => {
      roles.set(OUTGOING.local, 'server');
      (await create({ hasSockets: true })).send(midstream);
      expect(seen()).toEqual(PULL);
    });

    it('is asked of the kernel: without a listener at our end we have called', async () => {
      roles.set(OUTGOING.local, 'client');
      (await create({ hasSockets: true })).send(midstream);
      expect(seen()).toEqual([]);
    });

    it('stays open where the kernel does not know the socket: behind an address translation, in a container', async () => {
      (await create({ hasSockets: true })).send(midstream);
      expect(seen()).toEqual(PULL);
    });
  });

  it('is that of the socket, against a whole forged handshake', async () => {
    roles.set(NODE, 'server');
    const { send } = await create({ hasSockets: true });
    send(
      forgedSyn,
      { from: PEER, to: NODE, flags: 'SA', sequence: 55, acknowledgment: 8 },
      { from: NODE, to: PEER, flags: 'A', sequence: 8, acknowledgment: 56 },
      // The real one was opened before anybody looked.
      data,
    );
    expect(seen()).toEqual(PULL);
  });

  describe('of a program that listens at the port that it calls from', () => {
    const local = '10.0.0.1:40123';
    const remote = '10.0.0.2:43800';
    const handshake = [
      { from: local, to: remote, flags: 'S', sequence: 1 },
      { from: remote, to: local, flags: 'SA', sequence: 5, acknowledgment: 2 },
      { from: local, to: remote, flags: 'A', sequence: 2, acknowledgment: 6 },
    ];
    const answer = { from: remote, to: local, flags: 'PA', sequence: 6, acknowledgment: 2, payload: 100 };

    it.each([
      ['with its handshake', handshake],
      ['joined midstream', []],
      ['after a SYN in the name of the other end', [{ from: remote, to: local, flags: 'S', sequence: 9 }]],
    ])('is that of its call, so that its program is found: %s', async (_name, opening) => {
      roles.set(local, 'server');
      const owner: SocketOwner = { process: { name: 'copycat', pid: 7 }, user: { id: '1000' } };
      const { send, pipeline } = await create({
        hasSockets: true,
        // The port is a watched number, too: one of a worker.
        workers: [{ first: 40_000, last: 41_000 }],
        processes: {
          isLocal: (address) => formatAddress(address) === '10.0.0.1',
          find: () => Promise.resolve({ description: owner, isRaylet: false }),
        },
      });
      send(...opening, answer);
      pipeline.tick(START * 1000 + 1000);
      await setImmediate();
      expect(judging.anomalies.map(({ kind }) => kind)).toEqual(['foreign-process']);
    });
  });

  it('is open where a forged handshake says one thing and a socket without a listener the other', async () => {
    const local = '10.0.0.1:40123';
    const remote = '192.0.2.9:43800';
    roles.set(local, 'client');
    const { send } = await create({ hasSockets: true });
    send(
      { from: remote, to: local, flags: 'S', sequence: 7 },
      { from: local, to: remote, flags: 'SA', sequence: 55, acknowledgment: 8 },
      { from: remote, to: local, flags: 'A', sequence: 8, acknowledgment: 56 },
      { from: local, to: remote, flags: 'PA', sequence: 3000, acknowledgment: 8, payload: 1000 },
    );
    expect(seen()).toEqual(['critical unexpected-destination 10.0.0.1 > 192.0.2.9']);
  });

  it('is found out by both ends sending SYNs from watched ports: the push that follows is reported', async () => {
    const { send } = await create({});
    const local = '10.0.0.1:40123';
    const remote = '192.0.2.9:43800';
    send(
      { from: remote, to: local, flags: 'S', sequence: 7 },
      { from: local, to: remote, flags: 'S', sequence: 100 },
      { from: remote, to: local, flags: 'SA', sequence: 900, acknowledgment: 101 },
      { from: local, to: remote, flags: 'A', sequence: 101, acknowledgment: 901 },
    );
    expect(seen()).toEqual(['critical unexpected-destination 10.0.0.1 > 192.0.2.9']);
  });

  describe('in a tunnel', () => {
    const inVxlan = (segment: Partial<Segment>): Partial<Segment> => ({ ...segment, tunnel: 'vxlan' });
    const vxlan = { types: ['vxlan'], local: undefined, remote: undefined } as const;

    it('that nobody ends is told apart, and accuses nobody of more than an attempt', async () => {
      const { send, pipeline } = await create({});
      send(...[syn, synAck, ack, data].map(inVxlan));
      pipeline.end(START * 1000);
      expect(new Set(seen())).toEqual(new Set(['warning unexpected-peer 192.0.2.9 > 10.0.0.1']));
      expect(judging.anomalies[0]?.flow?.plasmawatch.tunnel).toEqual({ type: 'vxlan', ...OUTER, id: 7 });
    });

    it('that nobody ends accuses no member', async () => {
      const { send, pipeline } = await create({});
      const leak = { from: '10.0.0.2:40000', to: '203.0.113.5:43800', sequence: 1 };
      send({ ...leak, flags: 'S', tunnel: 'vxlan' }, { ...leak, flags: 'PA', payload: 100, tunnel: 'vxlan' });
      pipeline.end(START * 1000);
      expect(seen()).toEqual([]);
      expect(pipeline.totals().disregardedFlows).toBe(1);
    });

    it('that an interface of the node ends is seen on that interface, and not twice', async () => {
      interfaces.push({ ...vxlan, id: 7 });
      const { send, pipeline } = await create({});
      send(...[syn, synAck, ack, data].map(inVxlan));
      expect(pipeline.totals()).toMatchObject({ flows: 0, unwrappedPackets: 4 });
      send(syn, synAck, ack, data);
      expect(seen()).toEqual(PULL);
    });

    it('of another number than the interface has is told apart', async () => {
      interfaces.push({ ...vxlan, id: 8 });
      const { send, pipeline } = await create({});
      send(...[syn, synAck, ack, data].map(inVxlan));
      expect(pipeline.totals()).toMatchObject({ flows: 1, unwrappedPackets: 0 });
    });

    it('that the rules trust is plain traffic', async () => {
      const { send } = await create({ tunnels: [trusted('203.0.113.0/24', '10.0.0.0/8')] });
      send(...[syn, synAck, ack, data].map(inVxlan));
      expect(seen()).toEqual(PULL);
    });

    it('that the rules trust between other ends is told apart', async () => {
      const { send } = await create({ tunnels: [trusted('10.0.0.0/8')] });
      send(...[syn, synAck, ack, data].map(inVxlan));
      expect(seen()).toEqual(['warning unexpected-peer 192.0.2.9 > 10.0.0.1']);
    });
  });
});

function trusted(...ranges: string[]): TrustedTunnel {
  const ends = ranges.map((range) => parsePrefix(range)).filter((prefix) => prefix !== undefined);
  return { type: 'vxlan', id: 7, ends };
}
