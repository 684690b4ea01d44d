import { describe, expect, it } from 'vitest';
import type { Anomaly } from '../../common/event.ts';
import type { ServicePorts } from '../../rules/schema.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { frameOfSegment } from '../support/forged-frames.ts';
import { interleave, OPENINGS, type Ends, type Segment } from '../support/forgery.ts';
import { openPipeline, sendFrame, type JudgingPipeline } from '../support/judging-pipeline.ts';
import { randomFrom, seededRandom, type Random } from '../support/seeded-random.ts';

/** Many more are a matter of minutes: PLASMAWATCH_TEST_INTERLEAVINGS=1000000. */
const INTERLEAVINGS = Number(process.env['PLASMAWATCH_TEST_INTERLEAVINGS'] ?? 20_000);
const SEED = Number(process.env['PLASMAWATCH_TEST_SEED'] ?? 1);
/** Interleavings that one pipeline sees, each of another unknown peer. */
const BATCH = 500;
const NODE = '10.0.0.1';
const MEMBER = '10.0.0.2';
const PORT = 43_800;
const START = Date.UTC(2026, 10, 23, 12) / 1000;

describe('whatever is forged around a connection of an unknown peer', () => {
  it(`it is reported: ${INTERLEAVINGS} interleavings`, { timeout: 3_600_000 }, async () => {
    for (let first = 0; first < INTERLEAVINGS; first += BATCH) {
      const trial = await Trial.open(first % (2 * BATCH) === 0 ? [{ first: PORT, last: PORT }] : 'auto');
      const peers = new Map<string, string>();
      for (let index = first; index < Math.min(first + BATCH, INTERLEAVINGS); index++) {
        const random = seededRandom(SEED * 1_000_003 + index);
        const peer = `192.0.${2 + ((index - first) >>> 8)}.${(index - first) & 255}`;
        const { story, ends } = connectionOf(peer, random);
        const opening = randomFrom(OPENINGS, random);
        // Of a connection whose beginning nobody saw, a whole forged one is for the kernel to tell (test/live).
        const { segments } = interleave(ends, opening, opening === 'midstream' ? 0 : 12, random);
        trial.play(segments, random);
        peers.set(peer, `${story}, ${opening}, index ${index}:\n${segments.map(nameOf).join('\n')}`);
      }
      trial.end();
      for (const { kind, severity, flow } of trial.anomalies) {
        if (severity !== 'critical' || flow?.plasmawatch.tunnel !== undefined) continue;
        const peer = kind === 'unexpected-destination' ? flow?.destination.ip : flow?.source.ip;
        peers.delete(peer ?? '');
      }
      expect([...peers.values()]).toEqual([]);
    }
  });

  it('no member is accused of what is forged in a tunnel that nobody ends', async () => {
    const trial = await Trial.open('auto');
    const random = seededRandom(SEED);
    for (let index = 0; index < 300; index++) {
      const ends = { client: `${MEMBER}:${40_000 + index}`, server: `203.0.113.5:${PORT}` };
      const { segments } = interleave(ends, 'handshake', 12, random);
      const tunnel = randomFrom(['vxlan', 'geneve', 'gre', 'ipip'] as const, random);
      trial.play(
        segments.map((segment) => Object.assign({}, segment, { tunnel })),
        random,
      );
    }
    trial.end();
    const accused = trial.anomalies.filter(({ flow }) => [MEMBER, NODE].includes(flow?.source.ip ?? ''));
    expect(accused).toEqual([]);
    expect(trial.disregardedFlows).toBeGreaterThan(0);
  });
});

/** Who takes data from whom: the unknown peer calls a member, or a member calls it. */
function connectionOf(peer: string, random: Random): { readonly story: string; readonly ends: Ends } {
  // An ephemeral port that is a watched number, too.
  const port = random() < 0.2 ? PORT : 32_768 + Math.floor(random() * 8000);
  return random() < 0.5
    ? { story: 'pulls from a member', ends: { client: `${peer}:${port}`, server: `${NODE}:${PORT}` } }
    : {
        story: 'is sent data',
        ends: { client: `${NODE}:${40_001 + Math.floor(random() * 3000)}`, server: `${peer}:${PORT}` },
      };
}

function nameOf({ from, to, flags, sequence, acknowledgment, payload, tunnel }: Segment): string {
  return `${tunnel ?? ''} ${from} > ${to} [${flags}] ${sequence}/${acknowledgment} ${payload}`;
}

/** A pipeline as an agent on a machine without sockets has it, or a replay. */
class Trial {
  readonly #judging: JudgingPipeline;
  #seconds = START;

  private constructor(judging: JudgingPipeline) {
    this.#judging = judging;
  }

  static async open(services: ServicePorts): Promise<Trial> {
    const members = [`${NODE}:${PORT}`, `${MEMBER}:${PORT}`];
    const clock = new FakeClock(START * 1000);
    return new Trial(await openPipeline({ members, clock, services, hashSeed: 12_345 }));
  }

  get anomalies(): readonly Anomaly[] {
    return this.#judging.anomalies;
  }

  get disregardedFlows(): number {
    return this.#judging.pipeline.totals().disregardedFlows;
  }

  play(segments: readonly Segment[], random: Random): void {
    for (const segment of segments) {
      if (random() < 0.1) this.#wait(Math.floor(random() * 15));
      const interfaceIndex = random() < 0.9 ? 1 : 2;
      sendFrame(this.#judging.pipeline, frameOfSegment(segment), this.#seconds, interfaceIndex);
    }
  }

  end(): void {
    this.#judging.pipeline.end(this.#seconds * 1000);
  }

  #wait(seconds: number): void {
    this.#seconds += seconds;
    this.#judging.pipeline.tick(this.#seconds * 1000);
  }
}
