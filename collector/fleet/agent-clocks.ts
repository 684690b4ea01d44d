/**
 * The clocks of the agents that are connected. Each is asked for its time before it is welcomed, so that its reports can
 * be put in order from the first one on, and now and then afterwards.
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

export interface AgentClocksOptions {
  readonly clock: Pick<Clock, 'now'>;
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
        askedMs = clock.now();
        send({ type: 'ask-time', originMs: askedMs });
      },
      take: ({ originMs, receivedMs, sentMs }) => {
        if (originMs !== askedMs) return false;
        askedMs = undefined;
        filter.add({ originMs, receivedMs, sentMs, arrivedMs: clock.now() });
        return true;
      },
      close: () => {
        if (this.#filters.get(agent) === filter) this.#filters.delete(agent);
      },
    };
  }

  /** How far a connected agent's clock is from ours; undefined where that is not known. */
  offset(agent: string): ClockOffset | undefined {
    return this.#filters.get(agent)?.estimate(this.#options.clock.now());
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
    const largestMs = offsets.reduce((largest, { offsetMs }) => Math.max(largest, Math.abs(offsetMs)), 0);
    metrics.clockOffsetMax.set(largestMs / 1000);
    metrics.clocksWrong.set(offsets.filter((offset) => this.#isWrong(offset)).length);
  }

  #isWrong({ offsetMs, uncertaintyMs }: ClockOffset): boolean {
    return Math.abs(offsetMs) > Math.max(this.#options.maxSkewMs, uncertaintyMs);
  }
}
