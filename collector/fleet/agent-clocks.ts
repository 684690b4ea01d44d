/**
 * The clocks of the agents that are connected. Each is asked for its time before it is welcomed, so that its reports can
 * be put in order from the first one on, and now and then afterwards.
 *
 * Offsets are measured against the monotonic clock, so that setting the collector's own clock makes no agent's clock worse known.
 * Where most agents agree on another time than the collector's, it is the collector's clock that seems wrong, and an agent
 * counts as wrong by what most of them say.
 *
 * What is corrected is the time of incidents: an agent whose clock is wrong would otherwise begin a story before, or end
 * it after, everybody else. Its reports are kept as it sent them, as long as their times are possible (ingest/intake.ts).
 */
import type { Clock } from '../../common/clock.ts';
import type { Anomaly } from '../../common/event.ts';
import type { CollectorMessage, TimeAnswer } from '../../common/protocol.ts';
import { shiftEventTime } from '../incident/event-time.ts';
import type { CollectorMetrics } from '../metrics.ts';
import { ClockFilter, type ClockOffset } from './clock-filter.ts';

const NANOSECONDS_PER_MILLISECOND = 1e6;
/** So few agents may have their clocks from one source that is wrong. */
const FEWEST_TO_AGREE = 3;

export interface AgentClocksOptions {
  readonly clock: Pick<Clock, 'now' | 'monotonic'>;
  readonly metrics: CollectorMetrics;
  /** An offset beyond this is corrected, and the clock counted as wrong. */
  readonly maxSkewMs: number;
}

/** The questions to one connected agent. */
export interface ClockMeter {
  /** Asks, unless the last question is not answered yet. */
  ask(): void;
  /** Takes an answer; false when it answers nothing that was asked. */
  take(answer: TimeAnswer): boolean;
  /** The connection is over, and what it told of the clock may be so any time. */
  close(): void;
}

export class AgentClocks {
  readonly #options: AgentClocksOptions;
  readonly #filters = new Map<string, ClockFilter>();

  constructor(options: AgentClocksOptions) {
    this.#options = options;
  }

  /** Begins to ask an agent; takes over from an older connection of the same agent. */
  open(agent: string, send: (question: CollectorMessage) => void): ClockMeter {
    const { clock } = this.#options;
    const filter = new ClockFilter();
    this.#filters.set(agent, filter);
    let askedMs: number | undefined;
    return {
      ask: () => {
        if (askedMs !== undefined) return;
        askedMs = Math.round(clock.monotonic());
        send({ type: 'ask-time', originMs: askedMs });
      },
      take: ({ originMs, receivedMs, sentMs }) => {
        if (originMs !== askedMs) return false;
        askedMs = undefined;
        filter.add({ originMs, receivedMs, sentMs, arrivedMs: Math.round(clock.monotonic()) });
        return true;
      },
      close: () => {
        if (this.#filters.get(agent) === filter) this.#filters.delete(agent);
      },
    };
  }

  /** How far a connected agent's clock is from ours; undefined where that is not known. */
  offset(agent: string): ClockOffset | undefined {
    const { clock } = this.#options;
    const runningMs = clock.monotonic();
    const estimate = this.#filters.get(agent)?.estimate(runningMs);
    if (estimate === undefined) return undefined;
    return { ...estimate, offsetMs: estimate.offsetMs + Math.round(runningMs - clock.now()) };
  }

  /** An anomaly with its times as our clock would have told them, where the agent's clock is wrong beyond doubt. */
  inOurTime(agent: string, anomaly: Anomaly): Anomaly {
    const offset = this.offset(agent);
    if (offset === undefined || !this.#isWrong(offset)) return anomaly;
    const shift = BigInt(Math.round(-offset.offsetMs * NANOSECONDS_PER_MILLISECOND));
    return {
      ...anomaly,
      first: shiftEventTime(anomaly.first, shift),
      last: shiftEventTime(anomaly.last, shift),
    };
  }

  /** Brings the metrics up to date. */
  measure(): void {
    const { metrics } = this.#options;
    const offsets = [...this.#filters.keys()].flatMap((agent) => this.offset(agent) ?? []);
    const commonMs = this.#commonOffsetMs(offsets);
    const fromCommon = offsets.map((offset) => ({ ...offset, offsetMs: offset.offsetMs - commonMs }));
    const largestMs = offsets.reduce((largest, { offsetMs }) => Math.max(largest, Math.abs(offsetMs)), 0);
    metrics.clockOffsetMax.set(largestMs / 1000);
    metrics.clocksWrong.set(fromCommon.filter((offset) => this.#isWrong(offset)).length);
    metrics.clockWrong.set(commonMs === 0 ? 0 : 1);
  }

  /** What most agents say that our clock is off by; 0 where they are few, do not agree, or agree with us. */
  #commonOffsetMs(offsets: readonly ClockOffset[]): number {
    if (offsets.length < FEWEST_TO_AGREE) return 0;
    const sorted = offsets.toSorted((a, b) => a.offsetMs - b.offsetMs);
    const middle = sorted[Math.floor(sorted.length / 2)];
    if (middle === undefined || !this.#isWrong(middle)) return 0;
    const agreeing = sorted.filter(
      ({ offsetMs }) => Math.abs(offsetMs - middle.offsetMs) <= this.#options.maxSkewMs,
    );
    return agreeing.length * 2 > sorted.length ? middle.offsetMs : 0;
  }

  #isWrong({ offsetMs, uncertaintyMs }: ClockOffset): boolean {
    return Math.abs(offsetMs) > Math.max(this.#options.maxSkewMs, uncertaintyMs);
  }
}
