/**
 * "The object-manager port of this node is guessed": nobody has confirmed it for a while, so that what is watched may be the wrong
 * port. One state: it begins past that time and ends when somebody confirms the port.
 */
import { anomalyWithoutFlow } from '../../common/event.ts';
import { formatMilliseconds } from '../../common/time.ts';
import { isConfirmed, portInWords, type OwnPort } from '../membership/own-port.ts';
import type { Reporting } from './reporting.ts';

/** While it lasts, it is reported again this often. */
const REPORT_INTERVAL_MS = 60_000;

interface Episode {
  readonly sinceMs: number;
  /** Undefined before it has lasted long enough. */
  id?: string;
  reportedAtMs: number;
}

export class UnconfirmedPortDetector {
  readonly #options: Reporting;
  readonly #afterMs: number;
  #episode: Episode | undefined;

  /** @param afterMs the time without a confirmed port past which it is reported */
  constructor(options: Reporting, afterMs: number) {
    this.#options = options;
    this.#afterMs = afterMs;
  }

  /** Takes what is known of the port now. */
  observe(port: OwnPort, nowMs: number): void {
    const episode = this.#episode;
    if (isConfirmed(port)) {
      this.#episode = undefined;
      if (episode?.id !== undefined) this.#report(episode.id, episode, port, nowMs);
      return;
    }
    const current = episode ?? { sinceMs: nowMs, reportedAtMs: -Infinity };
    this.#episode = current;
    if (nowMs - current.sinceMs < this.#afterMs || nowMs - current.reportedAtMs < REPORT_INTERVAL_MS) return;
    current.id ??= this.#options.createId();
    current.reportedAtMs = nowMs;
    this.#report(current.id, current, port, nowMs);
  }

  #report(id: string, { sinceMs }: Episode, port: OwnPort, nowMs: number): void {
    const { node, report } = this.#options;
    const hasEnded = isConfirmed(port);
    report(
      anomalyWithoutFlow({
        id,
        kind: 'unconfirmed-port',
        severity: 'warning',
        node,
        first: formatMilliseconds(sinceMs),
        last: formatMilliseconds(nowMs),
        message: hasEnded
          ? `The ${portInWords(port)} on node ${node} is confirmed again`
          : `Node ${node} may be watched at the wrong port: ${portInWords(port)}`,
        ...(hasEnded ? { ended: true } : {}),
      }),
    );
  }
}
