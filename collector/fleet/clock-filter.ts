/**
 * How far another machine's clock is from ours, from questions and answers over a connection (RFC 5905, sections 8 and
 * 10): the answer that was under way for the shortest time tells it best, and half of that time is what it may be wrong by.
 */

/** Answers that are remembered (RFC 5905, NSTAGE). */
const MAX_SAMPLES = 8;
/** How fast two clocks may drift apart meanwhile (RFC 5905, PHI): 15 ppm. */
const DRIFT = 15e-6;
/** Times are told in whole milliseconds, by both sides. */
const PRECISION_MS = 1;

/** One question and its answer; milliseconds since the epoch. */
export interface Exchange {
  /** When the question left, by our clock. */
  readonly originMs: number;
  /** When it arrived and when the answer left, by the other clock. */
  readonly receivedMs: number;
  readonly sentMs: number;
  /** When the answer arrived, by our clock. */
  readonly arrivedMs: number;
}

export interface ClockOffset {
  /** The other clock minus ours: above 0 it is ahead. */
  readonly offsetMs: number;
  /** The offset may be wrong by so much. */
  readonly uncertaintyMs: number;
}

interface Sample extends ClockOffset {
  readonly atMs: number;
}

export class ClockFilter {
  #samples: Sample[] = [];

  /** Takes an exchange in. One that cannot be, because a clock was set meanwhile, tells nothing. */
  add({ originMs, receivedMs, sentMs, arrivedMs }: Exchange): void {
    const delayMs = arrivedMs - originMs - (sentMs - receivedMs);
    if (delayMs < 0 || arrivedMs < originMs) return;
    const offsetMs = (receivedMs - originMs + (sentMs - arrivedMs)) / 2;
    const sample = { offsetMs, uncertaintyMs: delayMs / 2 + PRECISION_MS, atMs: arrivedMs };
    const known = this.estimate(arrivedMs);
    // Both cannot be right: one of the clocks was set, and what was measured before is of no use.
    const isContradiction =
      known !== undefined && Math.abs(offsetMs - known.offsetMs) > sample.uncertaintyMs + known.uncertaintyMs;
    this.#samples = isContradiction ? [sample] : [...this.#samples.slice(1 - MAX_SAMPLES), sample];
  }

  /** The offset as the best answer tells it; undefined before the first. */
  estimate(nowMs: number): ClockOffset | undefined {
    const aged = this.#samples.map(({ offsetMs, uncertaintyMs, atMs }) => ({
      offsetMs,
      uncertaintyMs: uncertaintyMs + DRIFT * Math.abs(nowMs - atMs),
    }));
    return aged.toSorted((a, b) => a.uncertaintyMs - b.uncertaintyMs)[0];
  }
}
