/**
 * Takes over changed rules without a restart.
 *
 * The kernel tells of changes beside the file (editors write a new file and rename it, Kubernetes swaps a symbolic
 * link), and a look at the files' times once a second covers what it does not tell (network disks, exhausted
 * watches). Rules that are wrong are refused as a whole, and the owner keeps the ones it has.
 */
import { watch, type FSWatcher } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock, Timer } from '../common/clock.ts';
import type { Diagnostic } from '../common/diagnostic.ts';
import { messageOf } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import { listRuleFiles, loadRules, type LoadedRules } from './load.ts';
import type { Ruleset } from './match.ts';

const POLL_INTERVAL_MS = 1000;
/** Editors write in several steps; a change counts when nothing more has come for this long. */
const SETTLE_MS = 100;

/** Loaded rules without a fault. */
export type AcceptedRules = LoadedRules & { readonly ruleset: Ruleset };

interface WatchOptions {
  /** A file or a folder, as for `loadRules`. */
  readonly path: string;
  readonly clock: Clock;
  readonly logger?: Logger;
  /** Of the rules that the owner has; the same content is no change. Without it the first look reports. */
  readonly fingerprint?: string;
  /** Called with each new content that is right. */
  readonly onChange: (rules: AcceptedRules) => void;
  /** Called once for each new content that is wrong; the owner's rules stay. */
  readonly onRefused: (diagnostics: readonly Diagnostic[], rules: LoadedRules) => void;
}

export interface RulesWatcher {
  /** Resolves when nothing of the watcher runs any more; no callback comes after the call. */
  close(): Promise<void>;
}

/** Watches the rules at a path until closed. Callbacks never overlap. */
export function watchRules(options: WatchOptions): RulesWatcher {
  const watcher = new Watcher(options);
  watcher.start();
  return watcher;
}

class Watcher implements RulesWatcher {
  readonly #options: WatchOptions;
  /** Times, sizes and inodes of the files at the last look. */
  #stamp = '';
  /** What was last reported, taken over or refused. */
  #reported: string;
  /** Of the rules that the owner has. */
  #accepted: string;
  #running: Promise<void> = Promise.resolve();
  #poll: Timer | undefined;
  #settle: Timer | undefined;
  #files: FSWatcher | undefined;
  #isLookQueued = false;
  #isClosed = false;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#accepted = options.fingerprint ?? '';
    this.#reported = this.#accepted;
  }

  start(): void {
    const { path, clock } = this.#options;
    this.#poll = clock.every(POLL_INTERVAL_MS, () => this.#lookSoon());
    void this.#watchFiles(path);
    this.#lookSoon();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#poll?.cancel();
    this.#settle?.cancel();
    this.#files?.close();
    await this.#running;
  }

  async #watchFiles(path: string): Promise<void> {
    const isFolder = await stat(path).then(
      (status) => status.isDirectory(),
      () => false,
    );
    if (this.#isClosed) return;
    try {
      // The folder, and not the file: a file that is replaced takes its watch with it.
      this.#files = watch(isFolder ? path : dirname(path), { persistent: false }, () =>
        this.#settleThenLook(),
      );
      this.#files.on('error', (error) => this.#watchFailed(error));
    } catch (error) {
      this.#watchFailed(error);
    }
  }

  #watchFailed(error: unknown): void {
    this.#files?.close();
    const { logger, path } = this.#options;
    logger?.debug({ path, reason: messageOf(error) }, 'no notice of file changes, looking once a second');
  }

  #settleThenLook(): void {
    this.#settle?.cancel();
    if (!this.#isClosed) this.#settle = this.#options.clock.after(SETTLE_MS, () => this.#lookSoon());
  }

  /** One look after the other, and at most one in wait: a disk that hangs must not pile them up. */
  #lookSoon(): void {
    if (this.#isLookQueued) return;
    this.#isLookQueued = true;
    this.#running = this.#running.then(() => {
      this.#isLookQueued = false;
      return this.#look();
    });
  }

  async #look(): Promise<void> {
    if (this.#isClosed) return;
    const stamp = await stampOf(this.#options.path);
    if (stamp === this.#stamp) return;
    const rules = await loadRules(this.#options.path, this.#options);
    // Written to while it was read: the next look sees it whole.
    if ((await stampOf(this.#options.path)) !== stamp) return this.#settleThenLook();
    this.#stamp = stamp;
    if (!this.#isClosed) this.#report(rules);
  }

  #report(rules: LoadedRules): void {
    const { ruleset, fingerprint, diagnostics } = rules;
    const identity = ruleset === undefined ? JSON.stringify([fingerprint, diagnostics]) : fingerprint;
    if (identity === this.#reported) return;
    this.#reported = identity;
    if (ruleset === undefined) {
      this.#options.onRefused(diagnostics, rules);
    } else if (fingerprint !== this.#accepted) {
      this.#accepted = fingerprint;
      this.#options.onChange({ ...rules, ruleset });
    }
  }
}

/** A text that changes when a file of the rules does. */
async function stampOf(path: string): Promise<string> {
  const { files, problem } = await listRuleFiles(path);
  const stamps = await Promise.all(
    files.map(async (file) => {
      try {
        const { ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true });
        return [file, ino, size, mtimeNs, ctimeNs].join(' ');
      } catch (error) {
        return `${file} ${messageOf(error)}`;
      }
    }),
  );
  return [problem ?? '', ...stamps].join('\n');
}
