import { describe, expect, it } from 'vitest';
import { openCaptureFile } from '../../../agent/capture/file/open.ts';
import { decode, Packet } from '../../../agent/decode/packet.ts';
import type { Flow } from '../../../agent/flow/flow.ts';
import { FlowTable } from '../../../agent/flow/table.ts';
import { formatAddress, parseAddress } from '../../../common/address.ts';
import { corpusEntries, corpusPath, type ConversationRow } from '../../support/corpus.ts';
import { readFrames } from '../../support/frames.ts';

/** Link layers that are not decoded. */
const UNDECODED_LINKS = ['802.11 radiotap', 'nflog', 'ppp', 'cisco hdlc', 'pktap'];
const UNDECODED_KINDS = ['pppoe', 'mpls'];
/** One fuzzed packet has a TCP header of less than 20 bytes by its own word: malformed for us, counted by tshark. */
const FUZZED = 'files/ndpi/fuzz-2006-06-26-2594.pcap';

const entries = corpusEntries().filter(
  ({ path, kinds, expect: { link_packets } }) =>
    path !== FUZZED &&
    !UNDECODED_LINKS.some((link) => link in link_packets) &&
    !UNDECODED_KINDS.some((kind) => kinds.includes(kind)),
);

describe.skipIf(entries.length === 0)('captures by others (skipped without ../shared/corpus)', () => {
  it.each(entries)('counts the conversations of $path', async (entry) => {
    const flows: Flow<never>[] = [];
    const table = new FlowTable<never>({
      maxFlows: 10_000,
      isService: () => false,
      countOnOneInterface: false,
      ended: (flow) => flows.push(flow),
    });
    const packet = new Packet();
    await readFrames(openCaptureFile(corpusPath(entry)), (frame) => {
      if (decode(frame, packet) === 'tcp') table.observe(frame, packet);
    });
    table.endAll();
    const rows = entry.expect.conversation_rows.filter(([where]) => where === 'outer').flatMap(sidesOfRow);
    // tshark counts no payload for a first fragment, we count what is in it.
    const hasPayload = entry.expect.fragments === 0;
    expect(sum(flows.flatMap(sidesOfFlow), hasPayload)).toEqual(sum(rows, hasPayload));
  });
});

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

function sidesOfRow(row: ConversationRow): Side[] {
  const [, aIp, aPort, bIp, bPort, packetsAb, bytesAb, payloadAb, packetsBa, bytesBa, payloadBa] = row;
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
