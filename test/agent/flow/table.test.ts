import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FlowCounts, Frame } from '../../../agent/capture/source.ts';
import { LINKTYPE_ETHERNET } from '../../../agent/decode/link-type.ts';
import { decode, Packet, TCP_ACK } from '../../../agent/decode/packet.ts';
import type { Flow } from '../../../agent/flow/flow.ts';
import { flowRecord } from '../../../agent/flow/record.ts';
import { FlowTable, type FlowEndCause, type FlowTableOptions } from '../../../agent/flow/table.ts';
import { flowRecordSchema } from '../../../common/event.ts';
import { formatAddress } from '../../../common/address.ts';
import { tcpFrame } from '../../support/pcap-bytes.ts';

const A = '10.0.0.1:40000';
const B = '10.0.0.2:43800';

interface Sent {
  from: string;
  to: string;
  flags: string;
  sequence?: number;
  acknowledgment?: number;
  payload?: number;
  seconds?: number;
  interfaceIndex?: number;
  isCounted?: boolean;
}

/** A table that is fed with segments, and what it said of flows that ended. */
function createTable(options: Partial<FlowTableOptions<string>> = {}) {
  const ended: { name: string; cause: FlowEndCause; packets: number }[] = [];
  const table = new FlowTable<string>({
    maxFlows: 100,
    isService: (_w0, _w1, _w2, _w3, port) => port === 43_800,
    countOnOneInterface: false,
    ended: (flow, cause) =>
      ended.push({ name: nameOf(flow), cause, packets: flow.initiator.packets + flow.responder.packets }),
    timeouts: { attemptSeconds: 10, unansweredSeconds: 10, establishedSeconds: 100, closedSeconds: 5 },
    ...options,
  });
  const packet = new Packet();
  const send = ({
    seconds = 1000,
    interfaceIndex = 1,
    isCounted = false,
    ...segment
  }: Sent): Flow<string> => {
    const bytes = tcpFrame(segment);
    const frame = new Frame();
    frame.view = new DataView(bytes.buffer);
    frame.capturedLength = bytes.length;
    frame.originalLength = bytes.length;
    frame.linkType = LINKTYPE_ETHERNET;
    frame.seconds = seconds;
    frame.interfaceIndex = interfaceIndex;
    frame.isCounted = isCounted;
    expect(decode(frame, packet)).toBe('tcp');
    table.observe(frame, packet);
    return flowOf(table, segment);
  };
  return { table, send, ended };
}

/** The flow in the table that a segment belongs to. */
function flowOf(table: FlowTable<string>, { from, to }: Sent): Flow<string> {
  const flow = [...table].find((flow) => [`${from} > ${to}`, `${to} > ${from}`].includes(nameOf(flow)));
  if (flow === undefined) throw new Error(`no flow of ${from} and ${to}`);
  return flow;
}

function nameOf({ initiator, responder }: Flow<string>): string {
  return `${formatAddress(initiator)}:${initiator.port} > ${formatAddress(responder)}:${responder.port}`;
}

const SYN = { from: A, to: B, flags: 'S', sequence: 100 };
const SYN_ACK = { from: B, to: A, flags: 'SA', sequence: 500, acknowledgment: 101 };
const ACK = { from: A, to: B, flags: 'A', sequence: 101, acknowledgment: 501 };

describe('FlowTable counts', () => {
  it('packets, frame bytes and payload of each side', () => {
    const { send, table } = createTable();
    for (const segment of [SYN, SYN_ACK, ACK]) send(segment);
    const flow = send({ ...ACK, flags: 'PA', payload: 1000 });
    expect([flow.initiator.packets, flow.initiator.bytes, flow.initiator.payloadBytes]).toEqual([
      3,
      54 * 3 + 1000,
      1000,
    ]);
    expect([flow.responder.packets, flow.responder.bytes, flow.responder.payloadBytes]).toEqual([1, 54, 0]);
    expect([flow.state, table.size, table.counters.opened]).toEqual(['established', 1, 1]);
  });

  it('from the earliest packet to the latest, whatever their order', () => {
    const { send } = createTable();
    send({ ...SYN, seconds: 1001 });
    send({ ...SYN_ACK, seconds: 1005 });
    const flow = send({ ...ACK, seconds: 1000 });
    expect([flow.firstSeconds, flow.lastSeconds]).toEqual([1000, 1005]);
  });

  it('each side on the interface where it was seen first, where it is told to', () => {
    const { send, table } = createTable({ countOnOneInterface: true });
    send({ ...SYN, interfaceIndex: 1 });
    send({ ...SYN, interfaceIndex: 2 });
    // The way back need not be the same.
    send({ ...SYN_ACK, interfaceIndex: 2 });
    const flow = send({ ...SYN_ACK, interfaceIndex: 1 });
    expect([flow.initiator.packets, flow.responder.packets, table.counters.duplicates]).toEqual([1, 1, 2]);
  });

  it('the same connection through two interfaces as one flow twice, where it is not told to', () => {
    const { send, table } = createTable();
    send({ ...SYN, interfaceIndex: 1 });
    expect(send({ ...SYN, interfaceIndex: 2 }).initiator.packets).toBe(2);
    expect(table.counters.duplicates).toBe(0);
  });
});

describe('FlowTable with a kernel that counts', () => {
  it('adds what the kernel counted to the side that sent it', () => {
    const { send, table } = createTable({ countOnOneInterface: true });
    send(SYN);
    const flow = send(SYN_ACK);
    table.account(countsOf({ seconds: 1007 }));
    table.account(
      countsOf({
        source3: 0x0a000002,
        destination3: 0x0a000001,
        sourcePort: 43_800,
        destinationPort: 40_000,
      }),
    );
    const sides = [flow.initiator, flow.responder];
    expect(
      sides.map(({ packets, bytes, payloadBytes, streamBytes }) => [
        packets,
        bytes,
        payloadBytes,
        streamBytes,
      ]),
    ).toEqual([
      [11, 54 + 1540, 1000, 1000],
      [11, 54 + 1540, 1000, 1000],
    ]);
    expect([flow.lastSeconds, flow.state, table.size]).toEqual([1007, 'established', 1]);
  });

  it('does not count again what the kernel has counted, but takes it for what it proves', () => {
    const { send, table } = createTable();
    send({ ...SYN });
    send({ ...SYN_ACK });
    send({ ...ACK, flags: 'FA', payload: 60_000, isCounted: true });
    const flow = send({ ...SYN_ACK, flags: 'FA', isCounted: true });
    expect([flow.initiator.packets, flow.initiator.payloadBytes, flow.state]).toEqual([1, 0, 'closed']);
    table.account(countsOf({ packets: 42, payloadBytes: 60_000 }));
    expect([flow.initiator.packets, flow.initiator.payloadBytes, flow.state]).toEqual([43, 60_000, 'closed']);
  });

  it('opens a flow midstream whose first frame was lost, from the side that is no service', () => {
    const opened: string[] = [];
    const { table } = createTable({ changed: (flow) => opened.push(nameOf(flow)) });
    table.account(
      countsOf({
        source3: 0x0a000002,
        destination3: 0x0a000001,
        sourcePort: 43_800,
        destinationPort: 40_000,
      }),
    );
    expect(opened).toEqual([`${A} > ${B}`]);
    expect([...table].map(({ state, responder }) => [state, responder.packets])).toEqual([['midstream', 10]]);
  });

  it('goes by the interface that shows more, in whatever order they are told', () => {
    const { send, table } = createTable({ countOnOneInterface: true });
    send({ ...SYN, interfaceIndex: 1 });
    table.account(countsOf({ interfaceIndex: 2 }));
    const flow = send({ ...ACK, flags: 'FA', interfaceIndex: 2 });
    expect([flow.initiator.packets, flow.state]).toEqual([11, 'half-closed']);
    table.account(countsOf({ interfaceIndex: 1 }));
    table.account(countsOf({ interfaceIndex: 3 }));
    expect([flow.initiator.packets, flow.initiator.payloadBytes]).toEqual([11, 1000]);
    table.account(countsOf({ interfaceIndex: 1 }));
    table.account(countsOf({ interfaceIndex: 2 }));
    expect([flow.initiator.packets, flow.initiator.payloadBytes]).toEqual([21, 2000]);
  });

  it('counts what crosses one interface although its first segments were forged on another', () => {
    const { send } = createTable({ countOnOneInterface: true });
    send({ ...ACK, interfaceIndex: 2 });
    const segment = { ...ACK, payload: 1000, interfaceIndex: 1 };
    for (let sequence = 1001; sequence <= 10_001; sequence += 1000) send({ ...segment, sequence });
    const flow = send({ ...segment, interfaceIndex: 2, payload: 10 });
    expect(flow.initiator).toMatchObject({ payloadBytes: 10_000, packets: 10 });
  });

  it('leaves it to frames to end a connection', () => {
    const { send, table } = createTable();
    send(SYN);
    const flow = send(SYN_ACK);
    table.account(countsOf({ tcpFlags: 0x17 }));
    expect(flow.state).toBe('established');
  });
});

/** Ten packets from A to B. */
function countsOf(changes: Partial<FlowCounts>): FlowCounts {
  const ends = { source2: 0xffff, source3: 0x0a000001, destination2: 0xffff, destination3: 0x0a000002 };
  const ports = { sourcePort: 40_000, destinationPort: 43_800 };
  const amounts = { packets: 10, bytes: 1540, payloadBytes: 1000, tcpFlags: 0x10 };
  return Object.assign(new FlowCounts(), ends, ports, amounts, { seconds: 1000, interfaceIndex: 1 }, changes);
}

describe('FlowTable takes for the initiator', () => {
  it.each([
    ['the sender of a SYN', SYN, `${A} > ${B}`],
    ['the sender of a SYN even from a service', { ...SYN, from: B, to: A }, `${B} > ${A}`],
    ['the receiver of a SYN-ACK', SYN_ACK, `${A} > ${B}`],
    ['the side that is no service', { ...ACK, from: B, to: A }, `${A} > ${B}`],
    ['the sender of the first packet between strangers', { ...ACK, to: '10.0.0.2:80' }, `${A} > 10.0.0.2:80`],
    [
      'the sender of the first packet between services',
      { ...ACK, from: '10.0.0.1:43800' },
      `10.0.0.1:43800 > ${B}`,
    ],
  ])('%s', (_name, segment, name) => {
    expect(nameOf(createTable().send(segment))).toBe(name);
  });

  it('the other side, once a SYN that was captured late proves it, and clears the tag', () => {
    const { send, table } = createTable({ changed: () => {} });
    const guessed = send({ ...ACK, from: B, to: A, sequence: 101, acknowledgment: 501, payload: 1 });
    guessed.tag = 'judged';
    expect(nameOf(guessed)).toBe(`${A} > ${B}`);
    const flow = send({ ...SYN, from: B, to: A, sequence: 100 });
    expect([flow === guessed, nameOf(flow), flow.tag]).toEqual([true, `${B} > ${A}`, undefined]);
    expect([flow.initiator.packets, flow.responder.packets, table.counters.opened]).toEqual([2, 0, 1]);
  });

  it('the other side, and tags the flow anew by the frame that proves it', () => {
    const { send } = createTable({ tagOf: ({ interfaceIndex }) => `eth${interfaceIndex}` });
    const guessed = { ...ACK, from: B, to: A, sequence: 101, acknowledgment: 501, interfaceIndex: 1 };
    expect(send(guessed).tag).toBe('eth1');
    expect(send({ ...SYN, from: B, to: A, sequence: 100, interfaceIndex: 2 }).tag).toBe('eth2');
  });

  it('the other side, once a SYN-ACK proves it', () => {
    const { send } = createTable({ isService: () => false });
    send({ ...ACK, from: B, to: A, sequence: 501, acknowledgment: 101 });
    expect(nameOf(send(SYN_ACK))).toBe(`${A} > ${B}`);
  });

  it('the first of two that open the connection at once', () => {
    const { send } = createTable();
    send(SYN);
    send({ ...SYN, from: B, to: A, sequence: 500 });
    send(SYN_ACK);
    const flow = send({ ...SYN_ACK, from: A, to: B, sequence: 100, acknowledgment: 501 });
    expect([nameOf(flow), flow.state]).toEqual([`${A} > ${B}`, 'attempt']);
    expect(send(ACK).state).toBe('established');
  });

  it('the same side as before when it judged right', () => {
    const { send } = createTable({ changed: () => {} });
    send(SYN_ACK);
    const flow = send({ ...ACK, payload: 1 });
    flow.tag = 'judged';
    send(SYN);
    expect([nameOf(flow), flow.tag, flow.state]).toEqual([`${A} > ${B}`, 'judged', 'established']);
  });
});

describe('FlowTable begins a new flow', () => {
  it('with a SYN of another sequence number, and ends the old one as reused', () => {
    const { send, ended } = createTable();
    for (const segment of [SYN, SYN_ACK, ACK]) send(segment);
    const flow = send({ ...SYN, sequence: 9999 });
    expect(ended).toEqual([{ name: `${A} > ${B}`, cause: 'reused', packets: 3 }]);
    expect([flow.initiator.packets, flow.state]).toEqual([1, 'attempt']);
  });

  it('with a SYN in a connection that was joined midstream', () => {
    const { send, ended } = createTable();
    send({ ...ACK, sequence: 70_000 });
    send(SYN);
    expect(ended).toMatchObject([{ cause: 'reused' }]);
  });

  it('but not with a SYN that is sent again', () => {
    const { send, ended } = createTable();
    send(SYN);
    expect([send(SYN).initiator.packets, ended]).toEqual([2, []]);
  });

  it('but goes on with a refused one that is tried once more with the same number', () => {
    const { send } = createTable();
    send(SYN);
    expect(send({ from: B, to: A, flags: 'RA', acknowledgment: 101 }).state).toBe('refused');
    expect(send(SYN).state).toBe('attempt');
    expect(send(SYN_ACK).state).toBe('attempt');
    expect(send(ACK).state).toBe('established');
  });
});

describe('FlowTable tells the state of', () => {
  it('an attempt that met the rest of an old connection, and is made again (RFC 9293, section 3.5.1)', () => {
    const { send } = createTable();
    send(SYN);
    send({ from: B, to: A, flags: 'A', sequence: 77, acknowledgment: 88 });
    expect(send({ from: A, to: B, flags: 'R', sequence: 88 }).state).toBe('reset');
    expect(send(SYN).state).toBe('attempt');
    expect(send(SYN_ACK).state).toBe('attempt');
    expect(send(ACK).state).toBe('established');
  });

  it('a SYN scan: an attempt, also when the SYN was sent twice', () => {
    const { send } = createTable();
    for (const segment of [SYN, SYN_ACK]) send(segment);
    send({ from: A, to: B, flags: 'R', sequence: 101 });
    expect(send(SYN).state).toBe('attempt');
  });

  it('a closed connection under a storm of resets', () => {
    const { send } = createTable();
    for (const segment of [SYN, SYN_ACK, ACK]) send(segment);
    send({ ...ACK, flags: 'FA' });
    send({ from: B, to: A, flags: 'FA', sequence: 501, acknowledgment: 102 });
    for (let count = 0; count < 100; count++) send({ from: B, to: A, flags: 'R', sequence: 501 + count });
    const flow = send({ from: A, to: B, flags: 'R', sequence: 102 });
    expect([flow.state, flow.responder.packets]).toEqual(['closed', 102]);
  });
});

describe('FlowTable ends flows', () => {
  it('by the time limit of their state', () => {
    const { send, table, ended } = createTable();
    send(SYN);
    for (const segment of [SYN, SYN_ACK, ACK])
      send({
        ...segment,
        from: segment.from.replace('10.0.0.1', '10.0.0.7'),
        to: segment.to.replace('10.0.0.1', '10.0.0.7'),
      });
    const closed = { from: '10.0.0.8:1', to: B };
    send({ ...closed, flags: 'FA' });
    send({ from: B, to: '10.0.0.8:1', flags: 'FA' });
    const causes = (): string[] => ended.map(({ name, cause }) => `${name.split(':')[0]} ${cause}`);
    table.expire(1004);
    expect(causes()).toEqual([]);
    table.expire(1005);
    expect(causes()).toEqual(['10.0.0.8 closed']);
    table.expire(1010);
    expect(causes()).toEqual(['10.0.0.8 closed', '10.0.0.1 idle']);
    table.expire(1099);
    expect(table.size).toBe(1);
    table.expire(1100);
    expect([causes().at(-1), table.size]).toEqual(['10.0.0.7 idle', 0]);
  });

  it('later when they are heard of again', () => {
    const { send, table } = createTable();
    send(SYN);
    send({ ...SYN, seconds: 1008 });
    table.expire(1010);
    expect(table.size).toBe(1);
    table.expire(1018);
    expect(table.size).toBe(0);
  });

  it('in time, whichever of the same seconds was heard of last', () => {
    const { send, table, ended } = createTable();
    const from = (host: number, seconds: number) =>
      send({ from: `10.0.1.${host}:1`, to: B, flags: 'S', seconds });
    from(1, 1000);
    from(2, 1001);
    from(1, 1003);
    table.expire(1011);
    expect(ended.map(({ name }) => name.split(':')[0])).toEqual(['10.0.1.2']);
    table.expire(1013);
    expect(table.size).toBe(0);
  });

  it('that are over, then attempts, then the quietest, when it is full', () => {
    const { send, table, ended } = createTable({ maxFlows: 3 });
    const from = (host: number, flags: string, seconds = 1000) =>
      send({ from: `10.0.1.${host}:1`, to: B, flags, seconds, payload: flags === 'A' ? 1 : 0 });
    from(1, 'A');
    from(2, 'S');
    from(3, 'R');
    from(4, 'A');
    from(5, 'A');
    from(1, 'A', 1008);
    from(6, 'A', 1008);
    expect(ended.map(({ name, cause }) => `${name.split(':')[0]} ${cause}`)).toEqual([
      '10.0.1.3 evicted',
      '10.0.1.2 evicted',
      '10.0.1.4 evicted',
    ]);
    expect([table.size, table.counters]).toEqual([3, { opened: 6, evicted: 3, duplicates: 0 }]);
  });

  it('all when it is stopped', () => {
    const { send, table, ended } = createTable();
    send(SYN);
    send({ ...SYN, from: '10.0.0.9:1' });
    table.endAll();
    expect([ended.map(({ cause }) => cause), table.size]).toEqual([['stopped', 'stopped'], 0]);
  });
});

describe('FlowTable finds', () => {
  it('the same flows as a map of names does, whatever comes and goes', () => {
    const endpoints = fc.tuple(fc.nat(30), fc.nat(3)).map(([host, port]) => `10.9.0.${host}:${port}`);
    const segments = fc.array(fc.tuple(endpoints, endpoints, fc.constantFrom('A', 'A', 'R', 'expire')), {
      minLength: 200,
      maxLength: 1000,
    });
    fc.assert(
      fc.property(segments, (list) => {
        const packets = new Map<string, number>();
        const { send, table } = createTable({ maxFlows: 10_000 });
        list.forEach(([from, to, flags]) => {
          if (flags === 'expire') {
            // Ends every flow that was reset, so that gaps are closed in the index.
            for (const flow of table) if (flow.state === 'reset') packets.delete(keyOf(flow));
            table.expire(1005);
            return;
          }
          const flow = send({ from, to, flags, seconds: 1000 });
          const count = (packets.get(keyOf(flow)) ?? 0) + 1;
          packets.set(keyOf(flow), count);
          expect(flow.initiator.packets + flow.responder.packets).toBe(count);
        });
        expect(table.size).toBe(packets.size);
      }),
      { numRuns: 10 },
    );
  });

  it('every flow again in both directions after its memory has grown', () => {
    const connections = 150_000;
    const { table } = createTable({ maxFlows: connections });
    const frame = new Frame();
    const packet = new Packet();
    packet.tcpFlags = TCP_ACK;
    for (const way of ['there', 'back']) {
      for (let client = 1; client <= connections; client++) {
        packet.source3 = way === 'there' ? client : 0;
        packet.destination3 = way === 'there' ? 0 : client;
        table.observe(frame, packet);
      }
    }
    expect([table.size, table.counters.opened]).toEqual([connections, connections]);
    let counted = 0;
    for (const { initiator, responder } of table) counted += initiator.packets * responder.packets;
    expect(counted).toBe(connections);
  });
});

function keyOf({ initiator, responder }: Flow<string>): string {
  return [initiator, responder]
    .map((side) => `${formatAddress(side)}:${side.port}`)
    .toSorted()
    .join(' ');
}

describe('flowRecord', () => {
  it('is a record of the schema', () => {
    const { send } = createTable();
    const flow = send(SYN);
    const record = flowRecord(flow, { service: 'object-manager', interfaceName: 'eth0' });
    expect(flowRecordSchema.parse(record)).toEqual({
      type: 'flow',
      event: { start: '1970-01-01T00:16:40.000000000Z', end: '1970-01-01T00:16:40.000000000Z' },
      source: { ip: '10.0.0.1', port: 40_000, packets: 1, bytes: 54 },
      destination: { ip: '10.0.0.2', port: 43_800, packets: 0, bytes: 0 },
      network: { transport: 'tcp', type: 'ipv4', community_id: record.network.community_id },
      plasmawatch: {
        state: 'attempt',
        service: 'object-manager',
        payload: { source: 0, destination: 0 },
        stream: { source: 0, destination: 0 },
        interface: 'eth0',
      },
    });
  });
});
