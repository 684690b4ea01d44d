/**
 * The packet path on mutated packets and files. `PLASMAWATCH_FUZZ_INPUTS=1000000 npx vitest run test/fuzz` runs more of
 * them, `PLASMAWATCH_FUZZ_SEED` others; a failure names the seed and shows the input, which becomes a vector of the
 * header that it is about.
 */
import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { openCaptureFile } from '../../agent/capture/file/open.ts';
import { Frame } from '../../agent/capture/source.ts';
import { FragmentCache } from '../../agent/decode/fragments.ts';
import { decode, DECODE_OUTCOMES, Packet } from '../../agent/decode/packet.ts';
import { FlowTable } from '../../agent/flow/table.ts';
import { flowRecord } from '../../agent/flow/record.ts';
import { messageOf, PlasmawatchError } from '../../common/errors.ts';
import { flowRecordSchema } from '../../common/event.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { readFrames } from '../support/frames.ts';
import { CanaryView } from './canary-view.ts';
import { fileInputs, packetInputs } from './inputs.ts';
import { Mutator } from './mutation.ts';

const INPUTS = Number(process.env['PLASMAWATCH_FUZZ_INPUTS'] ?? 20_000);
const SEED = Number(process.env['PLASMAWATCH_FUZZ_SEED'] ?? 1);
/** Of so many inputs one is a file. */
const FILE_SHARE = 50;
/** Of so many flows one is checked as a record. */
const RECORD_SHARE = 100;
/** Some 10 ms for each input on a slow machine. */
const TIMEOUT_MS = 60_000 + INPUTS * 10;

/** Reads of the costliest packet: 32 headers, of which each may be IPv6 with 16 extensions and 16 options. */
const MAX_READS = 32 * 128;

/** Decodes and counts packets, and says what is wrong with what came out. */
class PacketPath {
  readonly #packet = new Packet();
  readonly #fragments = new FragmentCache();
  #ended = 0;
  /** Packets that came through to a connection. */
  counted = 0;
  readonly #table = new FlowTable<never>({
    maxFlows: 500,
    isService: (_w0, _w1, _w2, _w3, port) => port < 1024,
    countOnOneInterface: false,
    ended: (flow) => {
      if (this.#ended++ % RECORD_SHARE === 0) flowRecordSchema.parse(flowRecord(flow, {}));
    },
  });

  /** @returns the fault, or undefined where there is none */
  take(frame: Frame): string | undefined {
    const packet = this.#packet;
    const outcome = this.#fragments.join(frame, packet, decode(frame, packet));
    if (!DECODE_OUTCOMES.includes(outcome)) return `outcome ${outcome}`;
    if (outcome !== 'tcp') return undefined;
    const end = frame.offset + frame.capturedLength;
    if (packet.payloadCaptured < 0 || packet.payloadCaptured > packet.payloadLength)
      return 'captured payload';
    if (packet.payloadLength > Math.max(frame.originalLength, frame.capturedLength)) return 'payload length';
    if (packet.payloadCaptured > 0 && packet.payloadOffset + packet.payloadCaptured > end)
      return 'payload end';
    this.#table.observe(frame, packet);
    this.counted++;
    return undefined;
  }

  end(): void {
    this.#table.endAll();
  }
}

describe(`the packet path on ${INPUTS} mutated inputs of seed ${SEED}`, () => {
  it(
    'never throws, reads past a packet or takes long over one',
    async () => {
      const packets = await packetInputs();
      const mutator = new Mutator(seededRandom(SEED));
      const path = new PacketPath();
      const frame = new Frame();
      for (let count = 0; count < INPUTS; count++) {
        const input = mutator.pick(packets);
        const bytes = mutator.mutate(input.bytes, mutator.pick(packets).bytes);
        const view = new CanaryView(bytes.buffer);
        frame.view = view;
        frame.capturedLength = bytes.length;
        frame.originalLength = mutator.below(4) === 0 ? mutator.below(100_000) : bytes.length;
        frame.linkType = mutator.below(20) === 0 ? mutator.below(300) : input.linkType;
        frame.seconds = count >> 8;
        const fault =
          faultOf(() => path.take(frame)) ?? (view.reads > MAX_READS ? `${view.reads} reads` : undefined);
        if (fault !== undefined) throw new Error(`${fault}: input ${count}, ${describeFrame(frame, bytes)}`);
      }
      path.end();
      // Otherwise all of them would have failed at the first check.
      expect(path.counted).toBeGreaterThan(INPUTS / 4);
    },
    TIMEOUT_MS,
  );

  it(
    'reads files to their end or to a fault that it can name',
    async () => {
      const files = fileInputs();
      const mutator = new Mutator(seededRandom(SEED));
      const path = new PacketPath();
      for (let count = 0; count < INPUTS / FILE_SHARE; count++) {
        const bytes = mutator.mutate(mutator.pick(files), mutator.pick(files));
        let fault: string | undefined = undefined;
        const source = openCaptureFile('-', { stdin: Readable.from([bytes]) });
        const error = await readFrames(source, (frame) => (fault ??= faultOf(() => path.take(frame))));
        if (error !== undefined && !(error instanceof PlasmawatchError)) fault = messageOf(error);
        if (fault !== undefined)
          throw new Error(`${fault}: file ${count}, ${Buffer.from(bytes).toString('hex')}`);
      }
      path.end();
      expect(path.counted).toBeGreaterThan(INPUTS / FILE_SHARE);
    },
    TIMEOUT_MS,
  );
});

function faultOf(work: () => string | undefined): string | undefined {
  try {
    return work();
  } catch (error) {
    return messageOf(error);
  }
}

function describeFrame({ linkType, originalLength }: Frame, bytes: Uint8Array): string {
  return `link type ${linkType}, original length ${originalLength}, ${Buffer.from(bytes).toString('hex')}`;
}
