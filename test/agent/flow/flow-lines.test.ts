import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Frame } from '../../../agent/capture/source.ts';
import { Packet } from '../../../agent/decode/packet.ts';
import { FlowLines } from '../../../agent/flow/flow-lines.ts';
import { flowRecord } from '../../../agent/flow/record.ts';
import { FlowTable } from '../../../agent/flow/table.ts';
import { IPV4_MAPPED_WORD } from '../../../common/address.ts';
import { TUNNEL_TYPES } from '../../../common/tunnel.ts';

const word = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const fields = fc.record({
  isIpv4: fc.boolean(),
  source: fc.tuple(word, word, word, word),
  destination: fc.tuple(word, word, word, word),
  sourcePort: fc.nat(65_535),
  destinationPort: fc.nat(65_535),
  tcpFlags: fc.nat(255),
  tunnel: fc.constantFrom('none' as const, ...TUNNEL_TYPES),
  outer: fc.tuple(word, word, word, word),
  originalLength: fc.nat(2 ** 32 - 1),
  payloadLength: fc.nat(2 ** 32 - 1),
  seconds: fc.integer({ min: -62_167_219_200, max: 253_402_300_799 }),
  nanoseconds: fc.nat(999_999_999),
});
const name = fc.option(fc.string({ unit: 'binary', maxLength: 300 }), { nil: undefined });

describe('FlowLines', () => {
  it('has the text that JSON.stringify makes of the record', () => {
    fc.assert(
      fc.property(fields, name, (values, interfaceName) => {
        const table = new FlowTable<never>({
          maxFlows: 10,
          isService: () => false,
          countOnOneInterface: false,
          ended: () => {},
        });
        const frame = new Frame();
        frame.seconds = values.seconds;
        frame.nanoseconds = values.nanoseconds;
        frame.originalLength = values.originalLength;
        table.observe(frame, packetOf(values));
        const lines = new FlowLines();
        for (const flow of table) {
          lines.add(flow, interfaceName);
          const text = new TextDecoder().decode(lines.take());
          expect(text).toBe(`${JSON.stringify(flowRecord(flow, { interfaceName }))}\n`);
        }
      }),
    );
  });
});

function packetOf(values: typeof fields extends fc.Arbitrary<infer V> ? V : never): Packet {
  const packet = new Packet();
  const words = (address: number[]): number[] =>
    values.isIpv4 ? [0, 0, IPV4_MAPPED_WORD, address[3] ?? 0] : address;
  [packet.source0 = 0, packet.source1 = 0, packet.source2 = 0, packet.source3 = 0] = words(values.source);
  [packet.destination0 = 0, packet.destination1 = 0, packet.destination2 = 0, packet.destination3 = 0] =
    words(values.destination);
  packet.sourcePort = values.sourcePort;
  packet.destinationPort = values.destinationPort;
  packet.tcpFlags = values.tcpFlags;
  packet.tunnel = values.tunnel;
  [packet.outerSource0 = 0, packet.outerSource1 = 0, packet.outerSource2 = 0, packet.outerSource3 = 0] =
    values.outer;
  packet.payloadLength = values.payloadLength;
  return packet;
}
