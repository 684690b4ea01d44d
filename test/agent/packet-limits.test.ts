/** The tables between a packet and its verdict have a size; who fills them hides nobody. */
import { beforeEach, describe, expect, it } from 'vitest';
import { FakeClock } from '../support/fake-clock.ts';
import { openPipeline, sendFrame, type JudgingPipeline } from '../support/judging-pipeline.ts';
import { tcpFrame } from '../support/pcap-bytes.ts';

const START = Date.UTC(2026, 10, 23, 12) / 1000;
const NODE = '10.0.0.1:43800';
const PEER = '192.0.2.9';
const MAX_FLOWS = 1024;
/** Of agent/decode/fragments.ts and agent/flow/tunnel-ends.ts. */
const FRAGMENTS = 4096;
const TUNNELS = 4096;
const ETHERNET_LENGTH = 14;
const MEBIBYTE = 1_048_576;
const SEGMENT_BYTES = 1400;

interface Table {
  readonly table: string;
  readonly fill: (trial: Trial) => void;
  /** Whether there was no room any more. */
  readonly isFull: (trial: Trial) => boolean;
  /** Where the peer's packets come in the same shape as what fills the table. */
  readonly isFragmented?: boolean;
}

const TABLES: readonly Table[] = [
  {
    table: 'fragments',
    fill: (trial) => {
      for (let index = 0; index < 2 * FRAGMENTS; index++) {
        const from = `172.16.${index >>> 8}.${index & 255}:1000`;
        trial.send(firstFragment(tcpFrame({ from, to: NODE, flags: 'A', payload: 64 }), index));
      }
    },
    isFull: ({ pipeline }) => pipeline.totals().turnedAwayFragments > 0,
    isFragmented: true,
  },
  {
    table: 'tunnels',
    fill: (trial) => {
      for (let number = 0; number < 2 * TUNNELS; number++) {
        trial.send(inVxlan(tcpFrame({ from: `${PEER}:${number}`, to: NODE, flags: 'S' }), number));
      }
    },
    isFull: ({ pipeline }) => pipeline.totals().flows >= 2 * TUNNELS,
  },
  {
    table: 'flows, by attempts',
    fill: (trial) => {
      for (let port = 1; port <= 4 * MAX_FLOWS; port++) {
        trial.send(tcpFrame({ from: `172.16.0.1:${port}`, to: NODE, flags: 'S' }));
      }
    },
    isFull: ({ pipeline }) => pipeline.totals().evictedFlows > 0,
  },
  {
    table: 'flows, by forged segments',
    fill: (trial) => {
      for (let port = 1; port <= 4 * MAX_FLOWS; port++) {
        trial.send(tcpFrame({ from: `10.0.0.2:${port}`, to: NODE, flags: 'A', payload: 10 }));
      }
    },
    isFull: ({ pipeline }) => pipeline.totals().evictedFlows > 0,
  },
];

describe('an unknown peer that takes a mebibyte', () => {
  let trial: Trial;
  beforeEach(async () => {
    trial = await Trial.open();
  });

  it.each(TABLES)('is reported although the table is full: $table', ({ fill, isFull, isFragmented }) => {
    const shape = (frame: Uint8Array): Uint8Array[] =>
      isFragmented === true ? inTwo(frame, trial.nextId()) : [frame];
    const client = `${PEER}:5555`;
    fill(trial);
    trial.send(
      ...shape(tcpFrame({ from: client, to: NODE, flags: 'S', sequence: 1 })),
      ...shape(tcpFrame({ from: NODE, to: client, flags: 'SA', sequence: 9, acknowledgment: 2 })),
      ...shape(tcpFrame({ from: client, to: NODE, flags: 'A', sequence: 2, acknowledgment: 10 })),
    );
    fill(trial);
    for (let sent = 0; sent < MEBIBYTE; sent += SEGMENT_BYTES) {
      const numbers = { sequence: 10 + sent, acknowledgment: 2, payload: SEGMENT_BYTES };
      trial.send(...shape(tcpFrame({ from: NODE, to: client, flags: 'A', ...numbers })));
    }
    trial.pipeline.end(START * 1000);
    const reports = trial.anomalies.filter(
      ({ flow }) => flow?.source.ip === PEER && flow.plasmawatch.tunnel === undefined,
    );
    expect(isFull(trial)).toBe(true);
    expect(reports[0]).toMatchObject({ kind: 'unexpected-peer', severity: 'critical' });
    const bytes = new Map(reports.map((report) => [report.id, report.bytes]));
    expect([...bytes.values()].reduce((sum, one) => sum + one, 0)).toBeGreaterThan(MEBIBYTE);
  });
});

it('a peer that answers a SYN with a SYN, when the first is forgotten, is reported', async () => {
  const trial = await Trial.open();
  const [client, server] = ['10.0.0.1:40123', `${PEER}:43800`];
  trial.send(tcpFrame({ from: client, to: server, flags: 'S', sequence: 1 }));
  for (let port = 1; port <= 2 * MAX_FLOWS; port++) {
    trial.send(tcpFrame({ from: `172.16.0.1:${port}`, to: NODE, flags: 'S' }));
  }
  trial.send(
    tcpFrame({ from: server, to: client, flags: 'S', sequence: 9 }),
    tcpFrame({ from: client, to: server, flags: 'SA', sequence: 1, acknowledgment: 10 }),
    tcpFrame({ from: server, to: client, flags: 'A', sequence: 10, acknowledgment: 2 }),
    tcpFrame({ from: client, to: server, flags: 'A', sequence: 2, acknowledgment: 10, payload: 1400 }),
  );
  trial.pipeline.end(START * 1000);
  const reported = trial.anomalies.find(({ flow }) => flow?.destination.ip === PEER);
  expect(reported).toMatchObject({ kind: 'unexpected-destination', severity: 'critical' });
});

/** The first 28 bytes of the IP packet's payload: the ports, and all of the TCP header. */
function firstFragment(frame: Uint8Array, id: number): Uint8Array {
  return inTwo(frame, id)[0] as Uint8Array;
}

/** The IPv4 packet of a frame in two pieces, the first of which has no more of TCP than ports and sequence number. */
function inTwo(frame: Uint8Array, id: number): Uint8Array[] {
  const header = ETHERNET_LENGTH + 20;
  const piece = (start: number, end: number): Uint8Array => {
    const bytes = new Uint8Array(header + end - start);
    bytes.set(frame.subarray(0, header));
    bytes.set(frame.subarray(header + start, header + end), header);
    const view = new DataView(bytes.buffer);
    view.setUint16(ETHERNET_LENGTH + 2, bytes.length - ETHERNET_LENGTH);
    view.setUint16(ETHERNET_LENGTH + 4, id & 0xffff);
    const hasMore = header + end < frame.length ? 0x2000 : 0;
    view.setUint16(ETHERNET_LENGTH + 6, hasMore | (start >>> 3));
    return bytes;
  };
  return [piece(0, 8), piece(8, frame.length - header)];
}

function inVxlan(frame: Uint8Array, number: number): Uint8Array {
  const bytes = new Uint8Array(ETHERNET_LENGTH + 20 + 16 + frame.length);
  const view = new DataView(bytes.buffer);
  view.setUint16(12, 0x0800);
  view.setUint8(ETHERNET_LENGTH, 0x45);
  view.setUint16(ETHERNET_LENGTH + 2, bytes.length - ETHERNET_LENGTH);
  view.setUint8(ETHERNET_LENGTH + 9, 17);
  view.setUint32(ETHERNET_LENGTH + 12, 0xcb00_7101);
  view.setUint32(ETHERNET_LENGTH + 16, 0x0a00_0001);
  view.setUint16(ETHERNET_LENGTH + 22, 4789);
  view.setUint8(ETHERNET_LENGTH + 28, 8);
  view.setUint32(ETHERNET_LENGTH + 32, number << 8);
  bytes.set(frame, ETHERNET_LENGTH + 36);
  return bytes;
}

class Trial {
  readonly #judging: JudgingPipeline;
  #lastId = 0;

  private constructor(judging: JudgingPipeline) {
    this.#judging = judging;
  }

  static async open(): Promise<Trial> {
    const members = [NODE, '10.0.0.2:43800'];
    const clock = new FakeClock(START * 1000);
    return new Trial(await openPipeline({ members, clock, maxFlows: MAX_FLOWS, hashSeed: 4711 }));
  }

  get pipeline(): JudgingPipeline['pipeline'] {
    return this.#judging.pipeline;
  }

  get anomalies(): JudgingPipeline['anomalies'] {
    return this.#judging.anomalies;
  }

  nextId(): number {
    return ++this.#lastId;
  }

  send(...frames: readonly Uint8Array[]): void {
    for (const bytes of frames) sendFrame(this.pipeline, bytes, START);
  }
}
