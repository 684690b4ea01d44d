/**
 * A connection that moves data, and everything that somebody on the wire may send around it in the names of its ends: the
 * model of a forger, from which tests draw interleavings.
 */
import { randomFrom, type Random } from './seeded-random.ts';

/** One end of a connection: `10.0.0.1:43800`. */
export interface Ends {
  readonly client: string;
  readonly server: string;
}

export interface Segment {
  readonly from: string;
  readonly to: string;
  /** Letters of `tcpFrame`; empty for none. */
  readonly flags: string;
  readonly sequence: number;
  readonly acknowledgment: number;
  readonly payload: number;
  /** What it is wrapped in; undefined for a plain frame. */
  readonly tunnel: Tunnel | undefined;
}

export type Tunnel = 'vxlan' | 'geneve' | 'gre' | 'ipip';

/** How the connection begins, as far as packets of it are seen. */
export const OPENINGS = ['handshake', 'split handshake', 'no SYN-ACK', 'client only', 'midstream'] as const;
export type Opening = (typeof OPENINGS)[number];

/** Initial sequence numbers of the real connection. */
const CLIENT = 1000;
const SERVER = 5_000_000;

/** The real connection: its opening, data of both sides, and its end. */
export function realSegments({ client, server }: Ends, opening: Opening): Segment[] {
  const there = { from: client, to: server, payload: 0, acknowledgment: 0, tunnel: undefined };
  const back = { from: server, to: client, payload: 0, acknowledgment: 0, tunnel: undefined };
  const syn = { ...there, flags: 'S', sequence: CLIENT };
  const synAck = { ...back, flags: 'SA', sequence: SERVER, acknowledgment: CLIENT + 1 };
  const ack = { ...there, flags: 'A', sequence: CLIENT + 1, acknowledgment: SERVER + 1 };
  const data = [
    { ...there, flags: 'PA', sequence: CLIENT + 1, acknowledgment: SERVER + 1, payload: 100 },
    { ...back, flags: 'PA', sequence: SERVER + 1, acknowledgment: CLIENT + 101, payload: 1000 },
    { ...there, flags: 'A', sequence: CLIENT + 101, acknowledgment: SERVER + 1001 },
    { ...back, flags: 'PA', sequence: SERVER + 1001, acknowledgment: CLIENT + 101, payload: 1000 },
    { ...there, flags: 'FA', sequence: CLIENT + 101, acknowledgment: SERVER + 2001 },
    { ...back, flags: 'FA', sequence: SERVER + 2001, acknowledgment: CLIENT + 102 },
  ];
  switch (opening) {
    case 'handshake':
      return [syn, synAck, ack, ...data];
    case 'split handshake':
      // The server answers with a SYN of its own, and the client's kernel takes both for opening (RFC 9293, 3.5).
      return [
        syn,
        { ...back, flags: 'S', sequence: SERVER },
        { ...there, flags: 'SA', sequence: CLIENT, acknowledgment: SERVER + 1 },
        { ...back, flags: 'A', sequence: SERVER + 1, acknowledgment: CLIENT + 1 },
        ...data,
      ];
    case 'no SYN-ACK':
      return [syn, ack, ...data];
    case 'client only':
      return [syn, ack, ...data.filter(({ from }) => from === client)];
    default:
      return data;
  }
}

const FLAGS = ['S', 'SA', 'R', 'RA', 'F', 'FA', 'A', 'PA', 'SF', 'SR', ''] as const;
const TUNNELS = [undefined, undefined, undefined, 'vxlan', 'geneve', 'gre', 'ipip'] as const;

/** A segment in the name of either end, with numbers that fit, almost fit, or do not. */
export function forgedSegment({ client, server }: Ends, random: Random): Segment {
  const isFromClient = random() < 0.5;
  const flags = randomFrom(FLAGS, random);
  const [own, other] = isFromClient ? [CLIENT, SERVER] : [SERVER, CLIENT];
  return {
    from: isFromClient ? client : server,
    to: isFromClient ? server : client,
    flags,
    sequence: numberNear(own, random),
    acknowledgment: numberNear(other, random),
    payload: flags.includes('P') ? 1 + Math.floor(random() * 1400) : 0,
    tunnel: randomFrom(TUNNELS, random),
  };
}

/**
 * A whole handshake in the other direction, its numbers in order: what an end with a helper on the wire can bring
 * about, its helper answering in the name of the other end.
 */
export function forgedHandshake({ client, server }: Ends, random: Random): Segment[] {
  const first = numberNear(SERVER, random);
  const second = numberNear(CLIENT, random);
  const tunnel = randomFrom(TUNNELS, random);
  const there = { from: server, to: client, payload: 0, tunnel };
  const back = { from: client, to: server, payload: 0, tunnel };
  return [
    { ...there, flags: 'S', sequence: first, acknowledgment: 0 },
    { ...back, flags: 'SA', sequence: second, acknowledgment: (first + 1) >>> 0 },
    { ...there, flags: 'A', sequence: (first + 1) >>> 0, acknowledgment: (second + 1) >>> 0 },
  ];
}

function numberNear(right: number, random: Random): number {
  switch (Math.floor(random() * 4)) {
    case 0:
      return right;
    case 1:
      return right + 1;
    case 2:
      return right + 101;
    default:
      return Math.floor(random() * 2 ** 32);
  }
}

/** The real segments in their order, with up to `most` forged ones before, among and after them. */
export function interleave(
  ends: Ends,
  opening: Opening,
  most: number,
  random: Random,
): { readonly segments: Segment[]; readonly isReal: boolean[] } {
  const real = realSegments(ends, opening);
  const forged: Segment[] = [];
  while (forged.length < most * random()) {
    if (random() < 0.3) forged.push(...forgedHandshake(ends, random));
    else forged.push(forgedSegment(ends, random));
  }
  const segments: Segment[] = [];
  const isReal: boolean[] = [];
  // A good part of what a forger does comes before.
  let before = random() < 0.5 ? Math.floor(random() * (forged.length + 1)) : 0;
  while (real.length > 0 || forged.length > 0) {
    const takesForged = forged.length > 0 && (before > 0 || real.length === 0 || random() < 0.4);
    before--;
    isReal.push(!takesForged);
    segments.push((takesForged ? forged : real).shift() as Segment);
  }
  return { segments, isReal };
}
