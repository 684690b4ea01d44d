/** What people want to hear nothing of for a while, and why: added, ended before their time, and asked for each message. */
import type { Clock } from '../../common/clock.ts';
import { formatMilliseconds } from '../../common/time.ts';
import type { CollectorMetrics } from '../metrics.ts';
import type { Silence } from '../store/silence-table.ts';
import type { Incident, Store } from '../store/store.ts';
import { compileMatchers, type Matchers, type Subject } from './matchers.ts';

/** So many may be there that have not ended. */
export const MAX_SILENCES = 1000;
/** A silence that lasts longer is a rule that nobody has written. */
const MAX_DAYS = 90;
const MAX_SILENCE_MS = MAX_DAYS * 86_400_000;

export interface SilenceRequest {
  readonly matchers: Matchers;
  readonly reason: string;
  /** Milliseconds since the epoch; from now on when left out or in the past. */
  readonly startMs?: number | undefined;
  /** The first moment that is not silent any more. */
  readonly endMs?: number | undefined;
  /** How long it lasts where it has no `endMs`. */
  readonly durationMs?: number | undefined;
}

/** The silence, or in one line why there is none. */
export type Added =
  { readonly silence: Silence } | { readonly refusal: 'time' | 'full'; readonly message: string };

export interface SilencesOptions {
  readonly store: Pick<Store, 'silences' | 'audit' | 'transaction'>;
  readonly clock: Pick<Clock, 'now'>;
  readonly metrics: Pick<CollectorMetrics, 'silencesTurnedAway'>;
}

interface CompiledSilence {
  readonly silence: Silence;
  readonly isMatching: (subject: Subject) => boolean;
}

export class Silences {
  readonly #options: SilencesOptions;
  /** What had not ended when it was read; read again after each change, and after each step of the clock. */
  #current: readonly CompiledSilence[] | undefined;

  constructor(options: SilencesOptions) {
    this.#options = options;
  }

  /**
   * @param author the name of who asks
   * @throws PlasmawatchError PW_STORE, and then nothing has changed
   */
  add({ matchers, reason, ...times }: SilenceRequest, author: string): Added {
    const { store, clock, metrics } = this.#options;
    const nowMs = clock.now();
    const isFromNow = (times.startMs ?? 0) <= nowMs;
    const fromMs = Math.max(times.startMs ?? 0, nowMs);
    const endMs = times.endMs ?? fromMs + (times.durationMs ?? 0);
    if (endMs <= fromMs) return { refusal: 'time', message: 'it would end before it begins' };
    if (endMs - fromMs > MAX_SILENCE_MS || fromMs - nowMs > MAX_SILENCE_MS) {
      const message = `it may begin within ${MAX_DAYS} days and last ${MAX_DAYS} days at most`;
      return { refusal: 'time', message };
    }
    if (store.silences.currentCount(nowMs) >= MAX_SILENCES) {
      metrics.silencesTurnedAway.inc();
      return { refusal: 'full', message: `there are ${MAX_SILENCES} silences already: end some of them` };
    }
    const asked = {
      matchers,
      author,
      reason,
      createdMs: nowMs,
      startMs: fromMs,
      endMs,
      endedBy: null,
      ...(isFromNow ? { isStartRelative: true as const } : {}),
      // An hour from a named start ends at a time that is as good as named.
      ...(isFromNow && times.endMs === undefined ? { isEndRelative: true as const } : {}),
    };
    const silence = store.transaction(() => {
      const added = store.silences.insert(asked);
      const details = { matchers, reason, start: formatMilliseconds(fromMs), end: formatMilliseconds(endMs) };
      store.audit.add({ atMs: nowMs, actor: author, action: 'silence.add', subject: added.id, details });
      return added;
    });
    this.#current = undefined;
    return { silence };
  }

  /**
   * Ends a silence before its time; undefined where there is none. One that has ended stays as it is.
   * @throws PlasmawatchError PW_STORE, and then nothing has changed
   */
  end(id: string, actor: string): Silence | undefined {
    const { store, clock } = this.#options;
    const nowMs = clock.now();
    const silence = store.transaction(() => {
      const found = store.silences.silence(id);
      if (found === undefined || found.endMs <= nowMs) return found;
      const ended: Silence = { ...found, endMs: nowMs, endedBy: actor, isEndRelative: true };
      store.silences.update(ended);
      store.audit.add({ atMs: nowMs, actor, action: 'silence.end', subject: id, details: {} });
      return ended;
    });
    this.#current = undefined;
    return silence;
  }

  /** The times in the store were moved with the clock. */
  reload(): void {
    this.#current = undefined;
  }

  /** How many silence something now. */
  activeCount(): number {
    const nowMs = this.#options.clock.now();
    return this.#read(nowMs).filter(({ silence }) => isActive(silence, nowMs)).length;
  }

  /** A `MutedBy`: the oldest silence that is about the incident and nothing else. */
  mutedBy(incident: Incident, nowMs: number): string | undefined {
    const found = this.#read(nowMs).find(
      ({ silence, isMatching }) => isActive(silence, nowMs) && isMatching(incident),
    );
    return found === undefined ? undefined : `silence ${found.silence.id}`;
  }

  #read(nowMs: number): readonly CompiledSilence[] {
    this.#current ??= this.#options.store.silences.current(nowMs).map((silence) => ({
      silence,
      isMatching: compileMatchers(silence.matchers, { extent: 'all', labelsOf: () => ({}) }),
    }));
    return this.#current;
  }
}

/** Whether a silence silences at a time. */
export function isActive({ startMs, endMs }: Silence, nowMs: number): boolean {
  return startMs <= nowMs && nowMs < endMs;
}
