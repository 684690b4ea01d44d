/** A log line when something stops to work, and one when it works again, however often it is tried between the two. */
import type { Logger } from '../../common/log.ts';

export class OutageLog {
  readonly #logger: Logger;
  readonly #failedText: string;
  readonly #againText: string;
  readonly #failing = new Set<string>();

  /** @param failedText and `againText`: the lines, without the name of what is meant */
  constructor(logger: Logger, failedText: string, againText: string) {
    this.#logger = logger;
    this.#failedText = failedText;
    this.#againText = againText;
  }

  /** What does not work at the moment. */
  get failing(): ReadonlySet<string> {
    return this.#failing;
  }

  failed(name: string, reason: string): void {
    if (!this.#failing.has(name)) this.#logger.warn({ host: name, reason }, this.#failedText);
    this.#failing.add(name);
  }

  succeeded(name: string): void {
    if (this.#failing.delete(name)) this.#logger.info({ host: name }, this.#againText);
  }
}
