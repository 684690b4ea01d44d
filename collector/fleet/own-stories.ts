/**
 * What the collector itself has to tell of agents: each story is an anomaly of the agent's node that begins, is told
 * again while it lasts so that its incident stays open, and ends with a word, which resolves the incident.
 *
 * A collector that restarts finds the stories that go on in its store, and goes on with them.
 */
import type { Clock } from '../../common/clock.ts';
import { anomalyWithoutFlow, type Anomaly, type AnomalyKind, type Severity } from '../../common/event.ts';
import { formatMilliseconds } from '../../common/time.ts';
import type { Recorder } from '../incident/recorder.ts';
import { COLLECTOR } from '../incident/reporter.ts';
import type { Store } from '../store/store.ts';

/** While a story lasts it is told again at least this often. */
const MAX_RETELL_MS = 60_000;

export interface OwnStory {
  readonly kind: AnomalyKind;
  readonly severity: Severity;
  readonly node: string;
  /** Since when; milliseconds. */
  readonly sinceMs: number;
  readonly message: string;
}

interface Telling {
  readonly anomaly: Anomaly;
  /** By the monotonic clock. */
  readonly toldMs: number;
}

export interface OwnStoriesOptions {
  readonly store: Store;
  readonly recorder: Recorder;
  readonly clock: Clock;
  /** Of incidents: one without a report for this long is resolved. */
  readonly quietMs: number;
}

export class OwnStories {
  readonly #options: OwnStoriesOptions;
  /** By kind and node. */
  readonly #ongoing = new Map<string, Telling>();

  constructor(options: OwnStoriesOptions) {
    this.#options = options;
  }

  /** Takes over what an earlier run left. */
  load(): void {
    for (const anomaly of this.#options.store.fleet.ongoing(COLLECTOR)) {
      this.#ongoing.set(keyOf(anomaly), { anomaly, toldMs: -Infinity });
    }
  }

  /**
   * Tells stories: at once those that are new or other than before, the rest now and then.
   * @throws PlasmawatchError PW_STORE, and then none of them was told
   */
  tell(stories: readonly OwnStory[]): void {
    const anomalies = stories.map((story) => this.#toTell(story)).filter((anomaly) => anomaly !== undefined);
    if (anomalies.length > 0) this.#record(anomalies);
  }

  /**
   * The story is over; nothing happens where there is none.
   * @param message how it ended
   * @throws PlasmawatchError PW_STORE, and then it goes on
   */
  end(kind: AnomalyKind, node: string, message: string): void {
    const telling = this.#ongoing.get(keyOf({ kind, node }));
    if (telling === undefined) return;
    const last = formatMilliseconds(this.#options.clock.now());
    this.#record([{ ...telling.anomaly, last, message, ended: true }]);
  }

  /** Whether the story goes on. */
  has(kind: AnomalyKind, node: string): boolean {
    return this.#ongoing.has(keyOf({ kind, node }));
  }

  /** The nodes of which a story of this kind goes on. */
  nodes(kind: AnomalyKind): string[] {
    return [...this.#ongoing.values()]
      .filter(({ anomaly }) => anomaly.kind === kind)
      .map(({ anomaly }) => anomaly.node);
  }

  #toTell({ kind, severity, node, sinceMs, message }: OwnStory): Anomaly | undefined {
    const nowMs = this.#options.clock.now();
    const before = this.#ongoing.get(keyOf({ kind, node }));
    const isSame = before?.anomaly.severity === severity && before.anomaly.message === message;
    const retellMs = Math.min(this.#options.quietMs / 3, MAX_RETELL_MS);
    if (isSame && this.#options.clock.monotonic() - before.toldMs < retellMs) return undefined;
    const first = before?.anomaly.first ?? formatMilliseconds(sinceMs);
    return anomalyWithoutFlow({
      id: before?.anomaly.id ?? `${kind}:${node}:${first}`,
      kind,
      severity,
      node,
      first,
      last: formatMilliseconds(nowMs),
      message,
    });
  }

  #record(anomalies: readonly Anomaly[]): void {
    this.#options.recorder.recordOwn(anomalies);
    const toldMs = this.#options.clock.monotonic();
    for (const anomaly of anomalies) {
      if (anomaly.ended) this.#ongoing.delete(keyOf(anomaly));
      else this.#ongoing.set(keyOf(anomaly), { anomaly, toldMs });
    }
  }
}

function keyOf({ kind, node }: Pick<Anomaly, 'kind' | 'node'>): string {
  return `${kind} ${node}`;
}
