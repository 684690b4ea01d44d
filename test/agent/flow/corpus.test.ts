import { describe, expect, it } from 'vitest';
import { openCaptureFile } from '../../../agent/capture/file/open.ts';
import { FragmentCache } from '../../../agent/decode/fragments.ts';
import { decode, Packet } from '../../../agent/decode/packet.ts';
import type { Flow } from '../../../agent/flow/flow.ts';
import { FlowTable } from '../../../agent/flow/table.ts';
import { formatAddress, parseAddress } from '../../../common/address.ts';
import { corpusEntries, corpusPath, type CorpusEntry } from '../../support/corpus.ts';
import { readFrames } from '../../support/frames.ts';

/**
 * Rows of which we say something else than tshark, and why. Columns: addresses and ports of a and b; packets, bytes and
 * payload from a to b, then back.
 */
const EXCEPTIONS: Readonly<Record<string, { add?: Row[]; remove?: true }>> = {
  // Outer UDP length 0 marks a segment of more than 64 KiB; tshark 4.0 stops there, tcpdump (its own
  // tests of this file) reads the rest as we do.
  'files/tcpdump/bigtcp-ipv4-geneve-ipv4.pcap': {
    add: [['192.168.1.2', 35_663, '192.168.1.1', 38_005, 1, 80_116, 80_000, 0, 0, 0]],
  },
  // Teredo between client and relay does not use the well-known port: tshark misses it, Zeek counts it as we do.
  'files/zeek/Teredo.pcap': {
    add: [
      [
        '2001:0:4137:9e50:8000:f12a:b9c8:2815',
        1286,
        '2001:4860:0:2001::68',
        80,
        10,
        2699,
        1675,
        12,
        11_695,
        10_467,
      ],
    ],
  },
  // With a route left to go, the peer is the route's last address; `tshark -z conv,tcp` and Zeek say so too.
  'files/zeek/ip6-route0-tcp-good-chksum.pcap': {
    remove: true,
    add: [['2001:4f8:4:7:2e0:81ff:fe52:ffff', 30_000, '2001:78:1:32::2', 80, 1, 114, 0, 0, 0, 0]],
  },
  // tshark guesses at another layout of the record; for tcpdump, argus and us it is one TCP packet, a mad one.
  'files/suricata/bug-6875-01.pcap': {
    add: [['192.168.0.0', 256, '0.0.16.64', 0, 1, 188, 0, 0, 0, 0]],
  },
};

/** Fragments with those that are not the first: packets of TCP as tcpdump's filter or argus counts them. */
const WITH_LATER_FRAGMENTS: Readonly<Record<string, number>> = {
  'files/pcpp/frag_http_req.pcap': 11,
  'files/zeek/fragmented-syn.pcap': 2,
  'files/suricata/bug-6887-defrag-eth-vlan-ipv4-tcp-syn.pcap': 3,
  // Neither reads PPP: as the same packets in Ethernet, above.
  'files/suricata/bug-6887-defrag-ppp-ipv4-tcp-syn.pcap': 3,
};

const entries = corpusEntries();
const fragmented = entries.filter(({ path }) => path in WITH_LATER_FRAGMENTS);

describe.skipIf(entries.length === 0)('captures by others (skipped without ../shared/corpus)', () => {
  it.each(entries)('have the conversations of $path', async (entry) => {
    // As tshark was asked to: without putting fragments together, so that only the first one counts.
    const flows = await flowsOf(entry, false);
    const exception = EXCEPTIONS[entry.path];
    const rows = entry.expect.conversation_rows
      // What an ICMP error quotes is no packet of the connection.
      .filter(([where]) => where !== 'icmp' && exception?.remove !== true)
      .map(([, ...row]) => row.slice(0, 10) as unknown as Row);
    const expected = [...rows, ...(exception?.add ?? [])].flatMap(sidesOfRow);
    // tshark counts no payload for a first fragment, we count what is in it.
    const hasPayload = entry.expect.fragments === 0;
    expect(sum(flows.flatMap(sidesOfFlow), hasPayload)).toEqual(sum(expected, hasPayload));
  });

  it.each(fragmented)('have the later fragments of $path in their connection', async (entry) => {
    const flows = await flowsOf(entry, true);
    const packets = flows.flatMap(sidesOfFlow).reduce((total, side) => total + side.packets, 0);
    expect([flows.length, packets]).toEqual([1, WITH_LATER_FRAGMENTS[entry.path]]);
  });
});

async function flowsOf(entry: CorpusEntry, joinsFragments: boolean): Promise<Flow<never>[]> {
  const flows: Flow<never>[] = [];
  const table = new FlowTable<never>({
    maxFlows: 10_000,
    isService: () => false,
    countOnOneInterface: false,
    ended: (flow) => flows.push(flow.keep()),
  });
  const packet = new Packet();
  const fragments = new FragmentCache();
  await readFrames(openCaptureFile(corpusPath(entry)), (frame) => {
    const outcome = decode(frame, packet);
    if ((joinsFragments ? fragments.join(frame, packet, outcome) : outcome) === 'tcp')
      table.observe(frame, packet);
  });
  table.endAll();
  return flows;
}

/** a, a_port, b, b_port, packets_ab, bytes_ab, payload_ab, packets_ba, bytes_ba, payload_ba */
type Row = readonly [string, number, string, number, number, number, number, number, number, number];

/** What one side sent, under a name for the connection and the direction. */
interface Side {
  name: string;
  packets: number;
  bytes: number;
  payload: number;
}

function sidesOfFlow({ initiator, responder }: Flow<never>): Side[] {
  const a = `${formatAddress(initiator)} ${initiator.port}`;
  const b = `${formatAddress(responder)} ${responder.port}`;
  return [
    {
      name: `${a} > ${b}`,
      packets: initiator.packets,
      bytes: initiator.bytes,
      payload: initiator.payloadBytes,
    },
    {
      name: `${b} > ${a}`,
      packets: responder.packets,
      bytes: responder.bytes,
      payload: responder.payloadBytes,
    },
  ];
}

function sidesOfRow(row: Row): Side[] {
  const [aIp, aPort, bIp, bPort, packetsAb, bytesAb, payloadAb, packetsBa, bytesBa, payloadBa] = row;
  const [a, b] = [`${normal(aIp)} ${aPort}`, `${normal(bIp)} ${bPort}`];
  return [
    { name: `${a} > ${b}`, packets: packetsAb, bytes: bytesAb, payload: payloadAb },
    { name: `${b} > ${a}`, packets: packetsBa, bytes: bytesBa, payload: payloadBa },
  ];
}

function normal(text: string): string {
  const address = parseAddress(text);
  return address === undefined ? text : formatAddress(address);
}

/** Connections that used the same ports one after the other are one row there. */
function sum(sides: Side[], hasPayload: boolean): Record<string, Omit<Side, 'name'>> {
  const sums: Record<string, Omit<Side, 'name'>> = {};
  for (const { name, packets, bytes, payload } of sides) {
    const old = sums[name] ?? { packets: 0, bytes: 0, payload: 0 };
    sums[name] = {
      packets: old.packets + packets,
      bytes: old.bytes + bytes,
      payload: hasPayload ? old.payload + payload : 0,
    };
  }
  return sums;
}
