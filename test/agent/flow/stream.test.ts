import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openCaptureFile } from '../../../agent/capture/file/open.ts';
import { Frame } from '../../../agent/capture/source.ts';
import { LINKTYPE_ETHERNET } from '../../../agent/decode/link-type.ts';
import { decode, Packet } from '../../../agent/decode/packet.ts';
import type { Flow } from '../../../agent/flow/flow.ts';
import { FlowTable } from '../../../agent/flow/table.ts';
import { formatAddress } from '../../../common/address.ts';
import { corpusEntries, corpusPath } from '../../support/corpus.ts';
import { readFrames } from '../../support/frames.ts';
import { tcpFrame } from '../../support/pcap-bytes.ts';

const A = '10.0.0.1:40000';
const B = '10.0.0.2:43800';
/** The sender's initial sequence number. */
const INITIAL = 1000;

/** Flags, where the segment starts in the stream (0: the first byte after the SYN), bytes of payload. */
type Segment = readonly [flags: string, start: number, payload: number];

function createTable(flows: Flow<never>[] = []): FlowTable<never> {
  return new FlowTable<never>({
    maxFlows: 10_000,
    isService: () => false,
    countOnOneInterface: false,
    ended: (flow) => flows.push(flow.keep()),
  });
}

/** Sends the segments from A to B, and answers with what is counted of them: the stream, and all payload. */
function count(segments: readonly Segment[], initial = INITIAL): { stream: number; payload: number } {
  const table = createTable();
  const packet = new Packet();
  for (const [flags, start, payload] of segments) {
    const sequence = (initial + 1 + start) >>> 0;
    const bytes = tcpFrame({ from: A, to: B, flags, sequence, payload });
    const frame = new Frame();
    frame.view = new DataView(bytes.buffer);
    frame.capturedLength = bytes.length;
    frame.originalLength = bytes.length;
    frame.linkType = LINKTYPE_ETHERNET;
    expect(decode(frame, packet)).toBe('tcp');
    table.observe(frame, packet);
  }
  const [flow, ...others] = [...table];
  expect(others).toEqual([]);
  return { stream: flow?.initiator.streamBytes ?? -1, payload: flow?.initiator.payloadBytes ?? -1 };
}

const SYN: Segment = ['S', -1, 0];

describe('the bytes of a stream', () => {
  it.each<[string, Segment[], number]>([
    ['segments in order', [SYN, ['A', 0, 100], ['A', 100, 50]], 150],
    ['a retransmission', [SYN, ['A', 0, 100], ['A', 0, 100]], 100],
    ['a retransmission with more behind it', [SYN, ['A', 0, 100], ['A', 50, 100]], 150],
    ['a segment that lies within what was seen', [SYN, ['A', 0, 100], ['A', 20, 30]], 100],
    ['two segments that come the wrong way round', [SYN, ['A', 100, 100], ['A', 0, 100]], 200],
    ['a hole that stays', [SYN, ['A', 0, 100], ['A', 300, 100]], 200],
    [
      'a hole that is filled in pieces',
      [SYN, ['A', 300, 10], ['A', 100, 100], ['A', 0, 100], ['A', 200, 100]],
      310,
    ],
    ['a hole that is filled twice', [SYN, ['A', 100, 100], ['A', 0, 100], ['A', 0, 100]], 200],
    ['a segment that covers hole and all', [SYN, ['A', 100, 100], ['A', 300, 100], ['A', 0, 500]], 500],
    ['a keep-alive without a byte', [SYN, ['A', 0, 100], ['A', 99, 0], ['A', 99, 0]], 100],
    ['a keep-alive with an old byte', [SYN, ['A', 0, 100], ['A', 99, 1], ['A', 99, 1]], 100],
    [
      'a window probe that is sent again',
      [SYN, ['A', 0, 100], ['A', 100, 1], ['A', 100, 1], ['A', 100, 50]],
      150,
    ],
    [
      'data in the SYN',
      [
        ['S', -1, 40],
        ['A', 40, 60],
      ],
      100,
    ],
    [
      'data in the SYN that is sent again behind it',
      [
        ['S', -1, 40],
        ['A', 0, 40],
        ['A', 40, 60],
      ],
      100,
    ],
    ['a SYN that is sent again', [SYN, SYN, ['A', 0, 10]], 10],
    ['first data that begins at the number of the SYN', [SYN, ['PA', -1, 1024]], 1023],
    ['first data that begins long before the SYN', [SYN, ['PA', -500, 600], ['A', 100, 10]], 110],
    ['a FIN with data that is sent again', [SYN, ['FA', 0, 100], ['FA', 0, 100]], 100],
    ['text in a reset', [SYN, ['A', 0, 100], ['RA', 100, 20]], 100],
    [
      'a stream that was joined in its midst',
      [
        ['A', 5000, 100],
        ['A', 5100, 100],
        ['A', 5000, 100],
      ],
      200,
    ],
    [
      'what was sent before the first segment seen',
      [
        ['A', 5000, 100],
        ['A', 4900, 100],
      ],
      100,
    ],
    ['a jump farther than any window', [SYN, ['A', 0, 100], ['A', 2 ** 30 + 500, 100]], 200],
    ['an empty segment ahead', [SYN, ['A', 0, 100], ['A', 200, 0], ['A', 100, 100]], 200],
  ])('with %s', (_name, segments, bytes) => {
    expect(count(segments).stream).toBe(bytes);
  });

  it('counts beside all payload', () => {
    expect(count([SYN, ['A', 0, 100], ['A', 0, 100]])).toEqual({ stream: 100, payload: 200 });
  });

  it('gives up the lowest hole for a fifth', () => {
    const segments: Segment[] = [SYN, ...[1, 3, 5, 7, 9].map((at): Segment => ['A', at * 100, 100])];
    const filled: Segment[] = [0, 2, 4, 6, 8].map((at): Segment => ['A', at * 100, 100]);
    expect(count([...segments, ...filled]).stream).toBe(900);
  });

  it('is the number of different bytes, wherever sequence numbers begin and however segments come', () => {
    const segments = fc.array(fc.tuple(fc.nat(40), fc.integer({ min: 1, max: 20 })), { maxLength: 12 });
    fc.assert(
      fc.property(segments, fc.nat(2 ** 32 - 1), (list, initial) => {
        const seen = new Set<number>();
        let most = 0;
        for (const [start, length] of list) {
          for (let byte = start; byte < start + length; byte++) seen.add(byte);
          most = Math.max(most, holesOf(seen));
        }
        fc.pre(most <= 4);
        const sent = list.map(([start, length]): Segment => ['A', start, length]);
        expect(count([SYN, ...sent], initial).stream).toBe(seen.size);
      }),
      { numRuns: 300 },
    );
  });
});

type Handshake = Parameters<typeof tcpFrame>[0];

/** Feeds whole segments of both sides to a table, and answers with its flows. */
function flowsOf(segments: readonly Handshake[]): Flow<never>[] {
  const flows: Flow<never>[] = [];
  const table = createTable(flows);
  const packet = new Packet();
  for (const segment of segments) {
    const bytes = tcpFrame(segment);
    const frame = new Frame();
    frame.view = new DataView(bytes.buffer);
    frame.capturedLength = bytes.length;
    frame.originalLength = bytes.length;
    frame.linkType = LINKTYPE_ETHERNET;
    expect(decode(frame, packet)).toBe('tcp');
    table.observe(frame, packet);
  }
  table.endAll();
  return flows;
}

describe('the stream of a responder that answers a SYN more than once', () => {
  const there = { from: A, to: B };
  const back = { from: B, to: A };
  const syn = { ...there, flags: 'S', sequence: 1000 };
  const answer = (initial: number): Handshake => ({
    ...back,
    flags: 'SA',
    sequence: initial >>> 0,
    acknowledgment: 1001,
  });
  const ack = (initial: number): Handshake => ({
    ...there,
    flags: 'A',
    sequence: 1001,
    acknowledgment: (initial + 1) >>> 0,
  });
  /** Bytes from `start` on, the first one being 0. */
  const data = (initial: number, start: number, payload: number): Handshake => ({
    ...back,
    flags: 'PA',
    sequence: (initial + 1 + start) >>> 0,
    acknowledgment: 1001,
    payload,
  });
  const streamOf = (segments: readonly Handshake[]) => {
    const flows = flowsOf(segments);
    expect(flows).toHaveLength(1);
    expect(flows[0]?.standing).toBe('answered');
    return flows[0]?.responder.streamBytes;
  };

  // Lower, higher, next to it, beyond the largest window, around 2^32.
  const NUMBERS: readonly (readonly [first: number, second: number])[] = [
    [900_000, 5000],
    [5000, 900_000],
    [5000, 5001],
    [5001, 5000],
    [5000, 5000 + 2 ** 30],
    [5000, 5000 + 2 ** 31],
    [5000, 2 ** 32 - 5],
    [2 ** 32 - 5, 5000],
  ];

  it.each(NUMBERS)('is that of the acknowledged answer: %i, then %i', (first, second) => {
    for (const acknowledged of [first, second]) {
      const opening = [syn, answer(first), answer(second), ack(acknowledged)];
      expect(
        streamOf([...opening, data(acknowledged, 0, 1000), data(acknowledged, 1000, 500), ack(acknowledged)]),
      ).toBe(1500);
      // What comes the wrong way round, and twice.
      expect(
        streamOf([
          ...opening,
          data(acknowledged, 1000, 500),
          data(acknowledged, 0, 1000),
          data(acknowledged, 500, 700),
          ack(acknowledged),
        ]),
      ).toBe(1500);
    }
  });

  it.each(NUMBERS)(
    'is that of its data where the acknowledgment is not seen: %i, then %i',
    (first, second) => {
      const opening = [syn, answer(first), answer(second)];
      expect(streamOf([...opening, data(second, 0, 1000), data(second, 1000, 500), ack(second + 1500)])).toBe(
        1500,
      );
      expect(streamOf([...opening, data(first, 0, 1000), data(first, 1000, 500), ack(first + 1500)])).toBe(
        1500,
      );
    },
  );

  it('stays where it is after the handshake: a later answer is one to nothing (RFC 9293, section 3.10.7.4)', () => {
    const opening = [syn, answer(5000), ack(5000), data(5000, 0, 100)];
    for (const forged of [4000, 900_000, 5000 + 2 ** 31]) {
      expect(
        streamOf([...opening, answer(forged), ack(forged), data(5000, 0, 100), data(5000, 100, 50)]),
      ).toBe(150);
    }
  });

  it('is not moved by answers to another SYN', () => {
    const forged = { ...answer(5000 + 2 ** 31), acknowledgment: 77 };
    const lower = { ...answer(3000), acknowledgment: 77 };
    const opening = [syn, answer(5000), forged, lower, ack(5000)];
    expect(streamOf([...opening, data(5000, 100, 50), data(5000, 0, 100), ack(5000)])).toBe(150);
  });

  it('begins anew with the next attempt, after the first was reset', () => {
    const reset = { ...there, flags: 'R', sequence: 1001 };
    const attempt = (initial: number) => [syn, answer(initial)];
    expect(
      streamOf([
        ...attempt(900_000),
        reset,
        ...attempt(5000),
        ack(5000),
        data(5000, 0, 100),
        data(5000, 0, 100),
      ]),
    ).toBe(100);
  });

  it('begins anew with the next attempt, after the first was refused', () => {
    const refused = { ...back, flags: 'RA', sequence: 0, acknowledgment: 1001 };
    expect(
      streamOf([syn, refused, syn, answer(5000), ack(5000), data(5000, 0, 100), data(5000, 0, 100)]),
    ).toBe(100);
  });

  it('is another connection where the SYN has another number', () => {
    const second = { ...syn, sequence: 7000 };
    const flows = flowsOf([
      syn,
      answer(5000),
      ack(5000),
      data(5000, 0, 100),
      second,
      { ...answer(2000), acknowledgment: 7001 },
      { ...ack(2000), sequence: 7001 },
      { ...data(2000, 0, 30), acknowledgment: 7001 },
    ]);
    expect(flows.map(({ responder }) => responder.streamBytes)).toEqual([100, 30]);
  });

  it('is that of both where each side sends a SYN', () => {
    const flows = flowsOf([
      syn,
      { ...back, flags: 'S', sequence: 5000 },
      { ...there, flags: 'SA', sequence: 1000, acknowledgment: 5001 },
      { ...back, flags: 'A', sequence: 5001, acknowledgment: 1001 },
      data(5000, 0, 100),
      { ...ack(5100), flags: 'PA', payload: 20 },
    ]);
    expect(flows.map(({ initiator, responder }) => [initiator.streamBytes, responder.streamBytes])).toEqual([
      [20, 100],
    ]);
  });
});

/** Gaps before the highest byte. */
function holesOf(seen: ReadonlySet<number>): number {
  let holes = 0;
  for (const byte of seen) if (byte > 0 && !seen.has(byte - 1)) holes++;
  return holes;
}

/**
 * Traces of which Zeek's connection log counts the bytes by sequence numbers, as we do: without gaps (Zeek counts what
 * is missing, too), and without fragments, tunnels and bad checksums.
 */
const ZEEK_TRACES = corpusEntries().filter(
  ({ zeek, kinds, expect: { fragments } }) =>
    zeek?.columns.includes('orig_bytes') === true &&
    zeek.rows.some(([, , , , transport]) => transport === 'tcp') &&
    fragments === 0 &&
    !kinds.some((kind) => ['tunnel', 'tcp-gap', 'snaplen', 'bad-checksum'].includes(kind)),
);

describe.skipIf(ZEEK_TRACES.length === 0)(
  'traces with a log of Zeek (skipped without ../shared/corpus)',
  () => {
    it.each(ZEEK_TRACES)('has as many bytes as the log of $path', async (entry) => {
      const flows: Flow<never>[] = [];
      const table = createTable(flows);
      const packet = new Packet();
      await readFrames(openCaptureFile(corpusPath(entry)), (frame) => {
        if (decode(frame, packet) === 'tcp') table.observe(frame, packet);
      });
      table.endAll();
      const ours = flows.map(({ initiator, responder }) => [
        formatAddress(initiator),
        initiator.port,
        formatAddress(responder),
        responder.port,
        initiator.streamBytes,
        responder.streamBytes,
      ]);
      const theirs = (entry.zeek?.rows ?? [])
        .filter(([, , , , transport]) => transport === 'tcp')
        .map(([a, aPort, b, bPort, , , , bytes, bytesBack]) => [
          a,
          aPort,
          b,
          bPort,
          bytes ?? 0,
          bytesBack ?? 0,
        ]);
      expect(ours).toEqual(expect.arrayContaining(theirs));
      expect(theirs.length).toBeGreaterThan(0);
    });
  },
);
