import { once } from 'node:events';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parse } from 'pcap-parser';
import { describe, expect, it } from 'vitest';

const FOLDER = resolve(import.meta.dirname, '../pcaps');
const files = readdirSync(FOLDER);
const pcaps = files.filter((file) => file.endsWith('.pcap'));

interface Recording {
  readonly file: string;
  readonly packets: number;
  readonly fileBytes: number;
  readonly dataBytes: number;
  readonly flows: readonly { readonly connections: number }[];
}

/** What the program that made the traffic says of a recording. */
function truthOf(pcap: string): Recording | undefined {
  const text = readFileSync(join(FOLDER, `${pcap.split('.')[0]}.truth.json`), 'utf8');
  return (JSON.parse(text) as { recordings: Recording[] }).recordings.find(({ file }) => file === pcap);
}

async function readWithPcapParser(pcap: string): Promise<{ packets: number; bytes: number }> {
  const parser = parse(join(FOLDER, pcap));
  const totals = { packets: 0, bytes: 0 };
  parser.on('packet', ({ header }) => {
    totals.packets++;
    totals.bytes += header.originalLength;
  });
  await once(parser, 'end');
  return totals;
}

describe('the recordings', () => {
  it('are there', () => {
    expect(pcaps.length).toBeGreaterThanOrEqual(12);
  });

  it.each(pcaps)('%s holds the packets and bytes that its truth file says', async (pcap) => {
    const truth = truthOf(pcap);
    expect(statSync(join(FOLDER, pcap)).size).toBe(truth?.fileBytes);
    expect(await readWithPcapParser(pcap)).toEqual({ packets: truth?.packets, bytes: truth?.dataBytes });
  });

  it('have a row each in the README, with these numbers, and no truth file is without a recording', () => {
    const readme = readFileSync(join(FOLDER, 'README.md'), 'utf8');
    const rows = [...readme.matchAll(/^\| \[(\S+)\]\(\1\) .*\| +(\d+) \| +(\d+) \|$/gm)].map(
      ([, file, packets, connections]) => ({
        file,
        packets: Number(packets),
        connections: Number(connections),
      }),
    );
    const expected = pcaps.map((file) => ({
      file,
      packets: truthOf(file)?.packets,
      connections: truthOf(file)?.flows.reduce((sum, flow) => sum + flow.connections, 0),
    }));
    expect(rows.toSorted(byFile)).toEqual(expected.toSorted(byFile));
    const scenarios = new Set(pcaps.map((file) => file.split('.')[0]));
    const truths = files.filter((file) => file.endsWith('.truth.json')).map((file) => file.split('.')[0]);
    expect(new Set(truths)).toEqual(scenarios);
  });
});

function byFile(a: { file?: string | undefined }, b: { file?: string | undefined }): number {
  return (a.file ?? '').localeCompare(b.file ?? '');
}
