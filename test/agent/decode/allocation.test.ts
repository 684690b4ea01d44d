import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile } from '../../support/compile.ts';

/**
 * Prints by how many bytes the heap grows over 100,000 packets, collection included: decoding alone, then with the
 * flow table. One object a packet would be more than two million bytes.
 */
const MEASUREMENT = `
  const { Frame } = await import(process.argv[1] + '/agent/capture/source.js');
  const { decode, Packet } = await import(process.argv[1] + '/agent/decode/packet.js');
  const { FlowTable } = await import(process.argv[1] + '/agent/flow/table.js');
  const hex = '020000000001020000000002' + '0800' + '4500002800004000400600 00c0a800010ac80002' +
    '9c40ab18112233445566778850181234' + '00000000';
  const bytes = Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
  const frame = new Frame();
  frame.view = new DataView(bytes.buffer);
  frame.capturedLength = frame.originalLength = bytes.length;
  frame.linkType = 1;
  const packet = new Packet();
  const table = new FlowTable({ maxFlows: 10, isService: () => false, countOnOneInterface: true, ended() {} });
  const decodeOnly = () => decode(frame, packet);
  const decodeAndCount = () => { frame.nanoseconds++; decode(frame, packet); table.observe(frame, packet); };
  function growth(work) {
    for (let i = 0; i < 100_000; i++) work();
    gc(); gc();
    const before = process.memoryUsage().heapUsed;
    // Without collection in between, so that what was allocated and dropped is counted, too.
    for (let i = 0; i < 100_000; i++) work();
    return process.memoryUsage().heapUsed - before;
  }
  console.log(JSON.stringify({ outcome: decode(frame, packet), decodeOnly: growth(decodeOnly), decodeAndCount: growth(decodeAndCount) }));
`;

/** What the engine itself may take meanwhile: compiled code and feedback. */
const NOISE_BYTES = 200_000;

describe('the packet path', () => {
  let compiled: Awaited<ReturnType<typeof compile>>;
  beforeAll(async () => {
    compiled = await compile('agent/decode/packet.ts', 'agent/flow/table.ts');
  });
  afterAll(() => compiled.remove());

  it('allocates nothing for a packet', () => {
    const words = [
      '--expose-gc',
      '--max-semi-space-size=64',
      '--input-type=module',
      '-e',
      MEASUREMENT,
      compiled.folder,
    ];
    const result: unknown = JSON.parse(execFileSync(process.execPath, words, { encoding: 'utf8' }));
    const { outcome, decodeOnly, decodeAndCount } = result as {
      outcome: string;
      decodeOnly: number;
      decodeAndCount: number;
    };
    expect(outcome).toBe('tcp');
    expect(decodeOnly).toBeLessThan(NOISE_BYTES);
    expect(decodeAndCount).toBeLessThan(NOISE_BYTES);
  });
});
