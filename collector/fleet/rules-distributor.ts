/**
 * Hands the collector's rules out to the agents that want them: one file or folder here instead of one on every node.
 *
 * A change is numbered, signed and sent a few at a time, so that a large fleet does not fill the memory with copies.
 * Rules that are wrong are never handed out; agents go on with the ones before.
 */
import type { KeyObject } from 'node:crypto';
import { basename } from 'node:path';
import type { Clock, Timer } from '../../common/clock.ts';
import { formatDiagnostic } from '../../common/diagnostic.ts';
import { PlasmawatchError } from '../../common/errors.ts';
import {
  signRules,
  type FollowRules,
  type HandedRules,
  type HandedRulesMessage,
} from '../../common/handed-rules.ts';
import type { Logger } from '../../common/log.ts';
import { watchRules, type AcceptedRules, type RulesWatcher } from '../../rules/watch.ts';
import type { CollectorMetrics } from '../metrics.ts';
import type { StoreGuard } from '../store/health.ts';
import type { Store } from '../store/store.ts';

/** So much is sent at a time, and one copy at least; bytes. */
const PORTION_BYTES = 8_000_000;
const PORTION_INTERVAL_MS = 1000;
/** After the store failed. */
const STORE_RETRY_MS = 10_000;

export interface RulesDistributorOptions {
  /** A file or a folder, as for `loadRules`. */
  readonly path: string;
  /** Ed25519, private. */
  readonly key: KeyObject;
  readonly store: Store;
  readonly guard: StoreGuard;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: CollectorMetrics;
}

/** A connected agent that wants rules. */
interface Follower {
  /** False when the connection has no room now. */
  readonly send: (message: HandedRulesMessage) => boolean;
  /** The version that it has, or was sent over this connection. */
  sent: number;
  /** The version that it runs. */
  runs: number;
}

/** One agent's part in it, for as long as it is connected. */
export interface RulesSubscription {
  /** The agent says what it runs; null where these are rules of its own. */
  readonly runs: (version: number | null) => void;
  readonly leave: () => void;
}

export class RulesDistributor {
  readonly #options: RulesDistributorOptions;
  readonly #followers = new Set<Follower>();
  #key: KeyObject;
  /** What was read last and is right. */
  #rules: AcceptedRules | undefined;
  #watcher: RulesWatcher | undefined;
  #current: { readonly version: number; readonly message: HandedRulesMessage } | undefined;
  #services: ReadonlySet<string> = new Set();
  #spreadTimer: Timer | undefined;
  #retryTimer: Timer | undefined;

  constructor(options: RulesDistributorOptions) {
    this.#options = options;
    this.#key = options.key;
  }

  /** Signs with another key from now on, the rules that are handed out already too. */
  replaceKey(key: KeyObject): void {
    if (key.equals(this.#key)) return;
    this.#key = key;
    if (this.#rules !== undefined) this.#publish(this.#rules);
  }

  /** Reads the rules and follows their changes. */
  start(): void {
    const { path, clock, logger, metrics } = this.#options;
    this.#watcher = watchRules({
      path,
      clock,
      logger,
      onChange: (rules) => this.#publish(rules),
      onRefused: (diagnostics, { sources }) => {
        metrics.rulesRefused.inc();
        for (const diagnostic of diagnostics) {
          const problem = formatDiagnostic(diagnostic, sources.get(diagnostic.file));
          logger.error({ code: 'PW_RULES' }, `rules are not handed out: ${problem}`);
        }
      },
    });
  }

  async stop(): Promise<void> {
    this.#spreadTimer?.cancel();
    this.#retryTimer?.cancel();
    await this.#watcher?.close();
  }

  /** The version that agents should run; undefined before the first. */
  get version(): number | undefined {
    return this.#current?.version;
  }

  /** The services that the rules define which were distributed last; none before the first. */
  get services(): ReadonlySet<string> {
    return this.#services;
  }

  follow({ version }: FollowRules, send: Follower['send']): RulesSubscription {
    const follower: Follower = { send, sent: version, runs: version };
    this.#followers.add(follower);
    this.#spread();
    return {
      runs: (running) => {
        follower.runs = running ?? 0;
        this.#measure();
      },
      leave: () => {
        this.#followers.delete(follower);
        this.#measure();
      },
    };
  }

  #publish(rules: AcceptedRules): void {
    const { clock, logger, metrics, path } = this.#options;
    this.#retryTimer?.cancel();
    this.#rules = rules;
    for (const diagnostic of rules.diagnostics) {
      logger.warn({ code: 'PW_RULES' }, formatDiagnostic(diagnostic, rules.sources.get(diagnostic.file)));
    }
    let version: number | undefined;
    if (!this.#options.guard(() => (version = this.#numberOf(rules.fingerprint))) || version === undefined) {
      this.#retryTimer = clock.after(STORE_RETRY_MS, () => this.#publish(rules));
      return;
    }
    try {
      this.#current = { version, message: signRules({ version, files: filesOf(rules) }, this.#key) };
    } catch (error) {
      if (!(error instanceof PlasmawatchError)) throw error;
      metrics.rulesRefused.inc();
      logger.error({ code: error.code }, error.message);
      return;
    }
    this.#services = new Set(rules.ruleset.services.keys());
    metrics.rulesVersion.set(version);
    logger.info({ rules: path, version }, 'rules are handed out');
    this.#spread();
  }

  /**
   * The version of this content: that of before where it did not change. Seconds since the epoch, or one more than the
   * last: a collector that lost its store, or has an old one back, still numbers higher than what agents have.
   */
  #numberOf(fingerprint: string): number {
    const { store, clock, path } = this.#options;
    const nowMs = clock.now();
    const latest = store.rules.latest();
    if (latest?.fingerprint === fingerprint) return latest.version;
    const version = Math.max((latest?.version ?? 0) + 1, Math.floor(nowMs / 1000));
    store.transaction(() => {
      store.rules.add({ version, fingerprint }, nowMs);
      const details = { path, version, fingerprint };
      store.audit.add({ atMs: nowMs, actor: '(file)', action: 'rules.push', subject: 'rules', details });
    });
    return version;
  }

  /** Sends to those that lack the current version: one portion now and the others later. */
  #spread(): void {
    this.#measure();
    const current = this.#current;
    if (this.#spreadTimer !== undefined || current === undefined) return;
    const behind = [...this.#followers].filter(({ sent }) => sent !== current.version);
    if (behind.length === 0) return;
    const copies = Math.max(1, Math.floor(PORTION_BYTES / current.message.signed.length));
    let sent = 0;
    for (const follower of behind) {
      if (sent >= copies) break;
      if (!follower.send(current.message)) continue;
      follower.sent = current.version;
      sent++;
    }
    this.#options.metrics.rulesSent.inc(sent);
    this.#spreadTimer = this.#options.clock.after(PORTION_INTERVAL_MS, () => {
      this.#spreadTimer = undefined;
      this.#spread();
    });
  }

  #measure(): void {
    const version = this.#current?.version;
    const behind = [...this.#followers].filter(({ runs }) => version !== undefined && runs !== version);
    this.#options.metrics.rulesBehind.set(behind.length);
  }
}

/** A single file may have any name here, and has one that agents can read there. */
function filesOf({ sources }: AcceptedRules): HandedRules['files'] {
  const files = [...sources].map(([path, text]) => ({ name: basename(path), text }));
  const [only] = files;
  return files.length === 1 && only !== undefined ? [{ name: 'rules.yaml', text: only.text }] : files;
}
