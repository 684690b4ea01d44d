import { describe, expect, it } from 'vitest';
import { LINKTYPE_IPV4 } from '../../../agent/decode/link-type.ts';
import { decode, Packet } from '../../../agent/decode/packet.ts';
import { flowRecord } from '../../../agent/flow/record.ts';
import { FlowTable } from '../../../agent/flow/table.ts';
import { flowRecordSchema } from '../../../common/event.ts';
import { ETHERNET_FRAME, frameOf, IPV4_PACKET, udpPacket } from '../../support/packet-bytes.ts';

const VXLAN = '08 00 00 00 00 00 01 00';
const FORWARD = 'c6 33 64 01 c6 33 64 02';
const BACK = 'c6 33 64 02 c6 33 64 01';
/** From 10.200.0.2 port 43800 to 192.168.0.1 port 40000: the answer to `ETHERNET_FRAME`. */
const ANSWER = ETHERNET_FRAME.replace('c0 a8 00 01  0a c8 00 02', '0a c8 00 02 c0 a8 00 01').replace(
  '9c 40 ab 18',
  'ab 18 9c 40',
);

function withFlags(frame: string, flags: string): string {
  return frame.replace('50 18', `50 ${flags}`);
}

function recordOf(...packets: string[]) {
  const table = new FlowTable<never>({
    maxFlows: 10,
    isService: () => false,
    countOnOneInterface: false,
    ended: () => {},
  });
  const packet = new Packet();
  for (const hex of packets) {
    const frame = frameOf(hex, { linkType: LINKTYPE_IPV4 });
    expect(decode(frame, packet)).toBe('tcp');
    table.observe(frame, packet);
  }
  const records = [...table].map((flow) => flowRecordSchema.parse(flowRecord(flow, {})));
  expect(records).toHaveLength(1);
  return records[0];
}

describe('the tunnel of a flow', () => {
  const tunnel = { type: 'vxlan', source: '198.51.100.1', destination: '198.51.100.2' };

  it("is in its record, with the end on the initiator's side as source", () => {
    const record = recordOf(udpPacket(4789, `${VXLAN} ${withFlags(ETHERNET_FRAME, '02')}`));
    expect(record).toMatchObject({ source: { ip: '192.168.0.1', port: 40_000 }, plasmawatch: { tunnel } });
  });

  it('has its ends the same way round when the answer was seen first', () => {
    const answer = udpPacket(4789, `${VXLAN} ${withFlags(ANSWER, '12')}`).replace(FORWARD, BACK);
    expect(recordOf(answer)).toMatchObject({ source: { ip: '192.168.0.1' }, plasmawatch: { tunnel } });
  });

  it('has its ends turned round with the flow', () => {
    const midstream = udpPacket(4789, `${VXLAN} ${withFlags(ANSWER, '10')}`).replace(FORWARD, BACK);
    const syn = udpPacket(4789, `${VXLAN} ${withFlags(ETHERNET_FRAME, '02')}`);
    expect(recordOf(midstream)).toMatchObject({
      source: { ip: '10.200.0.2' },
      plasmawatch: { tunnel: { source: '198.51.100.2', destination: '198.51.100.1' } },
    });
    // The numbers match: it is the SYN of the same connection, that came late.
    const late = syn.replace('11 22 33 44', '55 66 77 87');
    expect(recordOf(midstream, late)).toMatchObject({
      source: { ip: '192.168.0.1' },
      plasmawatch: { tunnel },
    });
  });

  it('counts whole frames as bytes of the connection inside', () => {
    const hex = udpPacket(4789, `${VXLAN} ${ETHERNET_FRAME}`);
    expect(recordOf(hex)?.source.bytes).toBe(20 + 8 + 8 + 54);
  });

  it('is not there where there was none', () => {
    expect(recordOf(IPV4_PACKET)?.plasmawatch).not.toHaveProperty('tunnel');
  });
});
