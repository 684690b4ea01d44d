import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { flowRecordSchema, type FlowRecord } from '../../common/event.ts';
import { SHARED_FOLDER } from '../support/corpus.ts';
import { pcapFile, tcpFrame } from '../support/pcap-bytes.ts';
import { runCli } from '../support/run-cli.ts';

const RAY_FOLDER = `${SHARED_FOLDER}pcaps/ray/`;
const recordings = existsSync(RAY_FOLDER)
  ? readdirSync(RAY_FOLDER).filter((name) => name.endsWith('.pcap'))
  : [];
const hasTshark = spawnSync('tshark', ['--version']).status === 0;

/** Two connections, the second the larger: 10.0.0.1:40000 > 10.0.0.2:43800 and 10.0.0.3:50000 > 10.0.0.2:6379. */
const TWO_CONNECTIONS = pcapFile([
  tcpFrame({ from: '10.0.0.1:40000', to: '10.0.0.2:43800', flags: 'S', sequence: 1 }),
  tcpFrame({ from: '10.0.0.2:43800', to: '10.0.0.1:40000', flags: 'SA', sequence: 7, acknowledgment: 2 }),
  tcpFrame({ from: '10.0.0.3:50000', to: '10.0.0.2:6379', flags: 'PA', sequence: 5, payload: 1000 }),
]);

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'plasmawatch-flows-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Writes a file into the test's folder and returns its path. */
function file(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

async function runFlows(words: string[], stdin?: Uint8Array) {
  const { status, stdout, stderr } = await runCli(['flows', ...words], stdin === undefined ? {} : { stdin });
  return { status, output: stdout, problems: stderr };
}

function recordsOf(output: string): FlowRecord[] {
  return output
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => flowRecordSchema.parse(JSON.parse(line)));
}

describe('flows --json', () => {
  it('prints one record of the schema for each connection and nothing else', async () => {
    const { status, output, problems } = await runFlows(['--json', file('two.pcap', TWO_CONNECTIONS)]);
    expect({ status, problems }).toEqual({ status: 0, problems: '' });
    expect(
      recordsOf(output).map(({ source, destination, plasmawatch }) => ({ source, destination, plasmawatch })),
    ).toEqual(
      expect.arrayContaining([
        {
          source: { ip: '10.0.0.1', port: 40000, packets: 1, bytes: 54 },
          destination: { ip: '10.0.0.2', port: 43800, packets: 1, bytes: 54 },
          plasmawatch: {
            state: 'attempt',
            service: null,
            payload: { source: 0, destination: 0 },
            stream: { source: 0, destination: 0 },
          },
        },
        {
          source: { ip: '10.0.0.3', port: 50000, packets: 1, bytes: 1054 },
          destination: { ip: '10.0.0.2', port: 6379, packets: 0, bytes: 0 },
          plasmawatch: {
            state: 'midstream',
            service: null,
            payload: { source: 1000, destination: 0 },
            stream: { source: 1000, destination: 0 },
          },
        },
      ]),
    );
  });

  it.each(['-', '/dev/stdin'])('reads standard input when the file is %s', async (path) => {
    const { status, output } = await runFlows(['--json', path], TWO_CONNECTIONS);
    expect({ status, flows: recordsOf(output).length }).toEqual({ status: 0, flows: 2 });
  });

  it('reads several files as one capture', async () => {
    const path = file('twice.pcap', TWO_CONNECTIONS);
    const { output } = await runFlows(['--json', path, path]);
    expect(recordsOf(output).map(({ source }) => source.packets)).toEqual([2, 2]);
  });

  it('lists only connections with a given port on either side', async () => {
    const path = file('ports.pcap', TWO_CONNECTIONS);
    const ports = async (ports: number[]) =>
      recordsOf(
        (await runFlows([path, '--json', ...ports.flatMap((port) => ['--port', String(port)])])).output,
      ).map(({ destination }) => destination.port);
    expect(await ports([43800])).toEqual([43800]);
    expect(await ports([50000])).toEqual([6379]);
    expect((await ports([43800, 6379])).toSorted((a, b) => a - b)).toEqual([6379, 43800]);
    expect(await ports([1])).toEqual([]);
  });

  it('rejects a port that is none', async () => {
    const { status, output, problems } = await runFlows(['x', '--port', '70000']);
    expect({ status, output }).toEqual({ status: 2, output: '' });
    expect(problems).toContain('--port: 70000 is no port: expected a number from 0 to 65535');
  });
});

describe('flows --top', () => {
  const sized = (name: string) =>
    file(
      name,
      pcapFile(
        [300, 100, 500, 200, 400].map((payload, index) =>
          tcpFrame({ from: `10.0.0.${index + 1}:1`, to: '10.0.0.9:2', flags: 'A', payload }),
        ),
      ),
    );

  it('lists so many connections, the largest first', async () => {
    const { status, output } = await runFlows(['--json', '--top', '2', sized('top.pcap')]);
    expect(status).toBe(0);
    expect(recordsOf(output).map(({ source }) => source.bytes)).toEqual([554, 454]);
  });

  it('lists all of them when there are fewer', async () => {
    const { output } = await runFlows(['--json', '--top', '6', sized('fewer.pcap')]);
    expect(recordsOf(output).map(({ source }) => source.bytes)).toEqual([554, 454, 354, 254, 154]);
  });

  it('shortens the table for people too', async () => {
    const { output } = await runFlows(['--top', '1', sized('table-top.pcap')]);
    const [, only, summary] = output.split('\n');
    expect(only).toContain('10.0.0.3:1');
    expect(summary).toBe('5 packets of 5 TCP connections');
  });

  it.each(['0', '-1', '1.5', 'many'])('rejects %s', async (top) => {
    const { status, problems } = await runFlows(['--top', top, sized('wrong.pcap')]);
    expect(status).toBe(2);
    expect(problems).toMatch(/^plasmawatch: .*--top: expected a whole number from 1/);
  });
});

describe('flows on a terminal', () => {
  it('shows how far it is on standard error, and takes it away before it ends', async () => {
    const { stderr, stdout } = await runCli(['flows', '--json', file('bar.pcap', TWO_CONNECTIONS)], {
      isInteractive: true,
    });
    expect(stderr).toContain('█ 100 % of ');
    expect(stderr.endsWith('\r\u001B[K')).toBe(true);
    expect(recordsOf(stdout)).toHaveLength(2);
  });

  it('shows how much it has read where the end is not known', async () => {
    const { stderr } = await runCli(['flows', '--json', '-'], {
      stdin: TWO_CONNECTIONS,
      isInteractive: true,
    });
    expect(stderr).toContain(' KiB\r');
  });
});

describe('flows for people', () => {
  it('prints a table, the largest connection first, and a sentence on the whole', async () => {
    const { status, output } = await runFlows([file('table.pcap', TWO_CONNECTIONS)]);
    expect(status).toBe(0);
    const [headline, first, second, summary] = output.split('\n');
    expect(headline).toMatch(/^start +source +destination +state +packets +bytes +packets back +bytes back$/);
    expect(first).toMatch(/10\.0\.0\.3:50000 +10\.0\.0\.2:6379 +midstream +1 +1054 +0 +0$/);
    expect(second).toMatch(/10\.0\.0\.1:40000 +10\.0\.0\.2:43800 +attempt +1 +54 +1 +54$/);
    expect(summary).toBe('3 packets of 2 TCP connections');
  });

  it('says how many packets were left out, and why', async () => {
    const arp = new Uint8Array(42);
    arp.set([0x08, 0x06], 12);
    const { output } = await runFlows([file('arp.pcap', pcapFile([arp, arp]))]);
    expect(output).toBe('0 packets of 0 TCP connections; skipped 2 not-ip\n');
  });
});

describe('packets that are in no connection', () => {
  it('are told by link type where that is the reason', async () => {
    const bytes = pcapFile([new Uint8Array(60)]);
    new DataView(bytes.buffer).setUint32(20, 147, true);
    const { output } = await runFlows([file('user.pcap', bytes)]);
    expect(output).toBe('0 packets of 0 TCP connections; skipped 1 unsupported link type 147\n');
  });

  it('are told on standard error beside JSON', async () => {
    const arp = new Uint8Array(42);
    arp.set([0x08, 0x06], 12);
    const { output, problems } = await runFlows(['--json', file('arp-json.pcap', pcapFile([arp]))]);
    expect([output, problems]).toEqual([
      '',
      'plasmawatch: 0 packets of 0 TCP connections; skipped 1 not-ip\n',
    ]);
  });

  it('are those of other ports, too', async () => {
    const { output } = await runFlows(['--port', '6379', file('others.pcap', TWO_CONNECTIONS)]);
    expect(output.trimEnd().split('\n').at(-1)).toBe(
      '1 packets of 1 TCP connections; 2 packets of other ports',
    );
  });
});

describe('flows with a bad file among good ones', () => {
  const cutHeader = TWO_CONNECTIONS.slice(0, 10);
  const absurd = TWO_CONNECTIONS.slice();
  new DataView(absurd.buffer).setUint32(24 + 8, 0x7fff_ffff, true);
  it.each([
    ['empty', new Uint8Array(0), 'the file is empty [PW_NOT_A_CAPTURE]', 0],
    ['cut in the file header', cutHeader, 'the file header is cut short: 24 bytes expected, 10 there', 0],
    [
      'cut in a packet',
      TWO_CONNECTIONS.slice(0, -1),
      'a packet is cut short: 1054 bytes expected, 1053 there (at byte 164, after packet 2)',
      1,
    ],
    [
      'not a capture',
      new TextEncoder().encode('hello, world'),
      'neither pcap nor pcapng: it begins with 68656c6c',
      0,
    ],
    [
      'of an absurd length',
      absurd,
      'a packet claims 2147483647 captured bytes, more than the 262144 possible (at byte 24, after packet 0)',
      0,
    ],
  ])('%s: tells it in one line, lists the rest, answers 2', async (name, bytes, message, flowsBefore) => {
    const bad = file('bad.pcap', bytes);
    const good = file('good.pcap', TWO_CONNECTIONS);
    const alone = await runFlows(['--json', bad]);
    expect({ name, status: alone.status, flows: recordsOf(alone.output).length }).toEqual({
      name,
      status: 2,
      flows: flowsBefore,
    });
    const both = await runFlows(['--json', bad, good]);
    expect({ status: both.status, flows: recordsOf(both.output).length }).toEqual({ status: 2, flows: 2 });
    expect(both.problems.split('\n')).toEqual([expect.stringContaining(`${bad}: ${message}`), '']);
  });

  it('tells a missing file in one line', async () => {
    const { status, problems } = await runFlows(['--json', join(folder, 'absent.pcap')]);
    expect(status).toBe(2);
    expect(problems).toMatch(/^plasmawatch: .*absent\.pcap: no such file \[PW_FILE_UNREADABLE\]\n$/);
  });
});

describe.skipIf(!hasTshark || recordings.length === 0)(
  'flows of Ray recordings (skipped without tshark and ../shared/pcaps/ray)',
  () => {
    it.each(recordings)('counts %s as tshark does', async (name) => {
      const { status, output } = await runFlows(['--json', RAY_FOLDER + name]);
      expect(status).toBe(0);
      const flows = recordsOf(output).map(({ source, destination }) =>
        [source, destination].map(({ ip, port, packets, bytes }) => `${ip} ${port} ${packets} ${bytes}`),
      );
      expect(sorted(flows)).toEqual(sorted(conversations(RAY_FOLDER + name)));
    });

    it('finds as many connections as the recording of the normal day has', () => {
      expect(conversations(`${RAY_FOLDER}normal.w1.pcap`)).toHaveLength(8);
    });
  },
);

const FIELDS = [
  'tcp.stream',
  'ip.src',
  'ipv6.src',
  'tcp.srcport',
  'ip.dst',
  'ipv6.dst',
  'tcp.dstport',
  'frame.len',
];

/** The two sides of each tcp.stream of tshark: address, port, packets, bytes. */
function conversations(path: string): string[][] {
  const words = ['-r', path, '-n', '-Y', 'tcp', '-T', 'fields', ...FIELDS.flatMap((field) => ['-e', field])];
  const text = execFileSync('tshark', words, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    maxBuffer: 2 ** 28,
  });
  const streams = new Map<string, Map<string, { packets: number; bytes: number }>>();
  for (const line of text.trimEnd().split('\n')) {
    const [stream = '', ip4From, ip6From, portFrom, ip4To, ip6To, portTo, length] = line.split('\t');
    const sender = `${ip4From}${ip6From} ${portFrom}`;
    const sides = streams.get(stream) ?? new Map<string, { packets: number; bytes: number }>();
    streams.set(stream, sides);
    const side = sides.get(sender) ?? { packets: 0, bytes: 0 };
    sides.set(sender, { packets: side.packets + 1, bytes: side.bytes + Number(length) });
    const receiver = `${ip4To}${ip6To} ${portTo}`;
    if (!sides.has(receiver)) sides.set(receiver, { packets: 0, bytes: 0 });
  }
  return [...streams.values()].map((sides) =>
    [...sides].map(([name, { packets, bytes }]) => `${name} ${packets} ${bytes}`),
  );
}

function sorted(rows: string[][]): string[] {
  return rows.map((sides) => sides.toSorted().join(' | ')).toSorted();
}
