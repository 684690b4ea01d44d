/**
 * Addresses in IPv6 packets that hold an IPv4 address. None of them is that IPv4 address: not for the flow table, not for
 * the members of the cluster and not for the rules.
 */
import { describe, expect, it } from 'vitest';
import { flowRecord } from '../../agent/flow/record.ts';
import { FlowTable } from '../../agent/flow/table.ts';
import { decode, Packet } from '../../agent/decode/packet.ts';
import { LINKTYPE_ETHERNET } from '../../agent/decode/link-type.ts';
import { formatAddress, isIpv4 } from '../../common/address.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { openPipeline, sendFrame } from '../support/judging-pipeline.ts';
import { bytesOf, ETHERNET_ADDRESSES, frameOf, hex16 } from '../support/packet-bytes.ts';

const START = Date.UTC(2026, 10, 23, 12) / 1000;
const PORTS = [5000, 43_800] as const;
const SYN = 0x02;
const SYN_ACK = 0x12;
const ACK = 0x10;

/** Every way to write 10.0.0.2 into an IPv6 address, with what a reader sees of it. */
const EMBEDDED = [
  ['mapped', '0000 0000 0000 0000 0000 ffff 0a00 0002', '::ffff:10.0.0.2'],
  ['compatible', '0000 0000 0000 0000 0000 0000 0a00 0002', '::a00:2'],
  ['translated', '0000 0000 0000 0000 ffff 0000 0a00 0002', '::ffff:0:a00:2'],
  ['NAT64', '0064 ff9b 0000 0000 0000 0000 0a00 0002', '64:ff9b::a00:2'],
  ['local NAT64', '0064 ff9b 0001 0000 0000 0000 0a00 0002', '64:ff9b:1::a00:2'],
  ['6to4', '2002 0a00 0002 0000 0000 0000 0000 0000', '2002:a00:2::'],
  ['ISATAP', 'fe80 0000 0000 0000 0000 5efe 0a00 0002', 'fe80::5efe:a00:2'],
] as const;
const mapped = (ipv4: string) => `0000 0000 0000 0000 0000 ffff ${ipv4}`;

function tcp(
  ports: readonly [number, number],
  flags: number,
  sequence = 1,
  acknowledgment = 0,
  payload = '',
): string {
  const numbers = [sequence, acknowledgment].map((value) => value.toString(16).padStart(8, '0')).join('');
  return `${hex16(ports[0])} ${hex16(ports[1])} ${numbers} 50 ${hex16(flags).slice(3)} ffff 0000 0000 ${payload}`;
}

function inIpv6(source: string, destination: string, segment: string): string {
  const length = hex16(bytesOf(segment).length);
  return `${ETHERNET_ADDRESSES} 86dd 6000 0000 ${length} 0640 ${source} ${destination} ${segment}`;
}

function inIpv4(source: string, destination: string, segment: string): string {
  const length = hex16(20 + bytesOf(segment).length);
  return `${ETHERNET_ADDRESSES} 0800 4500 ${length} 0000 0000 4006 0000 ${source} ${destination} ${segment}`;
}

function flowsOf(frames: readonly string[]) {
  const table = new FlowTable<never>({
    maxFlows: 100,
    isService: () => false,
    countOnOneInterface: false,
    ended: () => {},
  });
  const packet = new Packet();
  for (const hex of frames) {
    const frame = frameOf(hex, { linkType: LINKTYPE_ETHERNET });
    expect(decode(frame, packet)).toBe('tcp');
    table.observe(frame, packet);
  }
  return [...table].map((flow) => flowRecord(flow, {}));
}

describe('an address of IPv6 that holds one of IPv4', () => {
  it.each(EMBEDDED)('is not that one for the flow table: %s', (_name, source, text) => {
    const destination = mapped('0a00 0001');
    const flows = flowsOf([
      inIpv4('0a00 0002', '0a00 0001', tcp(PORTS, ACK)),
      inIpv6(source, destination, tcp(PORTS, ACK, 1, 0, '77')),
      inIpv6(destination, source, tcp([PORTS[1], PORTS[0]], ACK)),
    ]);
    const seen = flows.map((flow) => [
      flow.source.ip,
      flow.source.packets,
      flow.destination.ip,
      flow.destination.packets,
      flow.network.type,
    ]);
    expect(seen).toHaveLength(2);
    expect(seen).toContainEqual(['10.0.0.2', 1, '10.0.0.1', 0, 'ipv4']);
    expect(seen).toContainEqual([text, 1, '::ffff:10.0.0.1', 1, 'ipv6']);
  });

  it('has the Community ID of the IPv6 packet', () => {
    const [flow] = flowsOf([inIpv6(mapped('c000 0201'), mapped('c000 0202'), tcp([40_000, 80], ACK))]);
    // SHA-1 of seed, addresses of 16 bytes each, protocol and ports, computed apart from this project.
    expect(flow?.network.community_id).toBe('1:klmoKrkOQRsN3BK0ppTmnRqGxk0=');
    const [ofIpv4] = flowsOf([inIpv4('c000 0201', 'c000 0202', tcp([40_000, 80], ACK))]);
    expect(ofIpv4?.network.community_id).not.toBe(flow?.network.community_id);
  });

  it('is none where a routing header has it as the last address', () => {
    const routing = `0602 0401 0000 0000 ${mapped('0a00 0001')}`;
    const segment = `${routing} ${tcp(PORTS, ACK)}`;
    const hex = inIpv6(mapped('0a00 0002'), 'fd00 0000 0000 0000 0000 0000 0000 0001', segment).replace(
      ' 0640 ',
      ' 2b40 ',
    );
    const packet = new Packet();
    expect(decode(frameOf(hex, { linkType: LINKTYPE_ETHERNET }), packet)).toBe('tcp');
    const destination = {
      w0: packet.destination0,
      w1: packet.destination1,
      w2: packet.destination2,
      w3: packet.destination3,
    };
    expect([isIpv4(destination), formatAddress(destination)]).toEqual([false, '::ffff:10.0.0.1']);
  });

  it.each(EMBEDDED)(
    'is no member and no source that a rule for IPv4 allows: %s',
    async (_name, source, text) => {
      const { pipeline, anomalies } = await openPipeline({
        members: ['10.0.0.1', '10.0.0.2', 'fd77::1'],
        clock: new FakeClock(START * 1000),
        services: [{ first: 43_800, last: 43_800 }],
      });
      const send = (hex: string) => sendFrame(pipeline, bytesOf(hex), START);
      // Between members: nothing to say.
      send(inIpv4('0a00 0002', '0a00 0001', tcp(PORTS, SYN, 1)));
      send(inIpv4('0a00 0001', '0a00 0002', tcp([PORTS[1], PORTS[0]], SYN_ACK, 9, 2)));
      send(inIpv4('0a00 0002', '0a00 0001', tcp(PORTS, ACK, 2, 10, '77')));
      pipeline.tick(START * 1000);
      expect(anomalies).toEqual([]);
      const node = 'fd77 0000 0000 0000 0000 0000 0000 0001';
      send(inIpv6(source, node, tcp(PORTS, SYN, 1)));
      send(inIpv6(node, source, tcp([PORTS[1], PORTS[0]], SYN_ACK, 9, 2)));
      send(inIpv6(source, node, tcp(PORTS, ACK, 2, 10, '77')));
      pipeline.end(START * 1000);
      expect(pipeline.totals().flows).toBe(2);
      expect(anomalies[0]).toMatchObject({ kind: 'unexpected-peer', flow: { source: { ip: text } } });
      expect(new Set(anomalies.map(({ flow }) => flow?.source.ip))).toEqual(new Set([text]));
    },
  );
});
