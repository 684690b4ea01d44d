import { describe, expect, it } from 'vitest';
import { openCaptureFile } from '../../../agent/capture/file/open.ts';
import { decode, Packet } from '../../../agent/decode/packet.ts';
import type { Flow } from '../../../agent/flow/flow.ts';
import { FlowTable } from '../../../agent/flow/table.ts';
import { formatAddress } from '../../../common/address.ts';
import { corpusEntries, corpusPath } from '../../support/corpus.ts';
import { readFrames } from '../../support/frames.ts';

const entries = new Map(corpusEntries().map((entry) => [entry.path, entry]));

/** The flows of a file of the corpus as one line each: who to whom, state, packets there and back. */
async function linesOf(path: string): Promise<string[]> {
  const entry = entries.get(path);
  if (entry === undefined) throw new Error(`${path} is not in the corpus`);
  const flows: Flow<never>[] = [];
  const table = new FlowTable<never>({
    maxFlows: 10_000,
    isService: () => false,
    countOnOneInterface: false,
    ended: (flow) => flows.push(flow.keep()),
  });
  const packet = new Packet();
  await readFrames(openCaptureFile(corpusPath(entry)), (frame) => {
    if (decode(frame, packet) === 'tcp') table.observe(frame, packet);
  });
  table.endAll();
  return flows.map(({ initiator, responder, state }) => {
    const [a, b] = [initiator, responder].map((side) => `${formatAddress(side)}:${side.port}`);
    return `${a} > ${b} ${state} ${initiator.packets}/${responder.packets}`;
  });
}

describe.skipIf(entries.size === 0)('connections by others (skipped without ../shared/corpus)', () => {
  it.each<[string, string, string[]]>([
    [
      'a split handshake, then a reset',
      'files/suricata/tcp-split-handshake-01-4whs.pcap',
      ['1.1.1.1:12345 > 2.2.2.2:80 reset 4/3'],
    ],
    [
      'fast open',
      'files/zeek/tcp-fast-open.pcap',
      ['10.99.99.1:55533 > 10.99.99.45:80 closed 3/5', '10.99.99.1:55534 > 10.99.99.45:80 closed 4/4'],
    ],
    [
      'a reset by somebody else while data goes on',
      'files/zeek/rst-inject-rae.pcap',
      ['1.2.0.2:2527 > 1.2.0.3:6649 reset 4/5'],
    ],
    [
      'a SYN-ACK that is captured before its SYN',
      'files/zeek/handshake-reorder.pcap',
      ['141.142.228.5:59856 > 192.150.187.43:80 closed 7/7'],
    ],
    ['no SYN', 'files/zeek/missing-syn.pcap', ['141.42.64.125:56730 > 125.190.109.199:80 closed 11/10']],
    [
      'a zero window and its probes',
      'files/arkime/wireshark-retrans.pcap',
      ['172.17.96.143:59221 > 172.17.96.77:4000 closed 64/44'],
    ],
    [
      'a reset, then a second connection from the same port',
      'files/suricata/issue-3341-tcphdr-01.pcap',
      [
        '192.168.1.24:31337 > 178.128.142.56:443 attempt 3/1',
        '192.168.1.24:31337 > 178.128.142.56:443 reset 3/1',
      ],
    ],
  ])('with %s', async (_name, path, lines) => {
    expect(await linesOf(path)).toEqual(lines);
  });
});
