import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile } from '../../support/compile.ts';

/**
 * Prints by how many bytes the heap grows over 100,000 packets of each kind: decoding alone, then with fragments joined
 * and counted in the flow table. One object a packet would be more than two million bytes.
 */
const MEASUREMENT = `
  const { Frame } = await import(process.argv[1] + '/agent/capture/source.js');
  const { decode, Packet } = await import(process.argv[1] + '/agent/decode/packet.js');
  const { FragmentCache } = await import(process.argv[1] + '/agent/decode/fragments.js');
  const { FlowTable } = await import(process.argv[1] + '/agent/flow/table.js');
  const ethernet = '020000000001020000000002 0800';
  const tcp = '9c40ab18 f1223344 f5667788 50181234 00000000';
  const ipv4 = '45000028 00004000 40060000 c0a80001 0ac80002' + tcp;
  const frames = Object.entries({
    plain: ethernet + ipv4,
    vlan: '020000000001020000000002 8100 0005 0800' + ipv4,
    ipv6: '020000000001020000000002 86dd 60000000 00140640' + 'fd000000'.repeat(8) + tcp,
    vxlan: ethernet + '4500005a 00004000 40110000 c0a80001 0ac80002 c00012b5 00460000 08000000 00000100' + ethernet + ipv4,
    firstFragment: ethernet + ipv4.replace('00004000', '12342000'),
    laterFragment: ethernet + ipv4.replace('00004000', '12342001'),
    udp: ethernet + ipv4.replace('40060000', '40110000'),
  }).map(([name, hex]) => {
    const bytes = Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
    const frame = new Frame();
    frame.view = new DataView(bytes.buffer);
    frame.capturedLength = frame.originalLength = bytes.length;
    frame.linkType = 1;
    return { name, frame };
  });
  const packet = new Packet();
  const fragments = new FragmentCache();
  const table = new FlowTable({ maxFlows: 10, isService: () => false, countOnOneInterface: true, ended() {} });
  const decodeOnly = (frame) => decode(frame, packet);
  const decodeAndCount = (frame) => {
    frame.nanoseconds++;
    const outcome = fragments.join(frame, packet, decode(frame, packet));
    if (outcome === 'tcp') table.observe(frame, packet);
    return outcome;
  };
  // The least of some rounds: the first ones run, now and then, before the engine has compiled everything.
  function growth(work, frame) {
    let least = Infinity;
    for (let round = 0; round < 6; round++) {
      gc(); gc();
      const before = process.memoryUsage().heapUsed;
      // Without collection in between, so that what was allocated and dropped is counted, too.
      for (let i = 0; i < 100_000; i++) work(frame);
      least = Math.min(least, process.memoryUsage().heapUsed - before);
    }
    return least;
  }
  // What the engine learns from one kind of packet it may have to unlearn for the next.
  for (const { frame } of frames) growth(decodeAndCount, frame);
  const results = frames.map(({ name, frame }) => ({
    name,
    outcome: decodeAndCount(frame),
    decodeOnly: growth(decodeOnly, frame),
    decodeAndCount: growth(decodeAndCount, frame),
  }));
  console.log(JSON.stringify(results));
`;

/** What the engine itself may take meanwhile: compiled code and feedback. */
const NOISE_BYTES = 200_000;

describe('the packet path', () => {
  let compiled: Awaited<ReturnType<typeof compile>>;
  beforeAll(async () => {
    compiled = await compile('agent/decode/fragments.ts', 'agent/decode/packet.ts', 'agent/flow/table.ts');
  });
  afterAll(() => compiled.remove());

  it('allocates nothing for a packet, in a tunnel or in fragments either', () => {
    const words = [
      '--expose-gc',
      '--max-semi-space-size=64',
      '--input-type=module',
      '-e',
      MEASUREMENT,
      compiled.folder,
    ];
    const results = JSON.parse(execFileSync(process.execPath, words, { encoding: 'utf8' })) as {
      name: string;
      outcome: string;
      decodeOnly: number;
      decodeAndCount: number;
    }[];
    expect(Object.fromEntries(results.map(({ name, outcome }) => [name, outcome]))).toEqual({
      plain: 'tcp',
      vlan: 'tcp',
      ipv6: 'tcp',
      vxlan: 'tcp',
      firstFragment: 'tcp',
      laterFragment: 'tcp',
      udp: 'not-tcp',
    });
    const grown = results.filter((r) => Math.max(r.decodeOnly, r.decodeAndCount) >= NOISE_BYTES);
    expect(grown).toEqual([]);
  });
});
