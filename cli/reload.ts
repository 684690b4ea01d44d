/**
 * Changes of a running service: its settings at SIGHUP, its secrets and certificates whenever their files change. What is
 * wrong is logged and changes nothing; what cannot change without a restart is named.
 */
import { stat } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import type { z } from 'zod';
import type { Clock, Timer } from '../common/clock.ts';
import { loadYamlFile } from '../common/config-file.ts';
import { formatDiagnostic } from '../common/diagnostic.ts';
import { messageOf, PlasmawatchError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import { renewableFilesOf } from './open-secrets.ts';

/** How often the files of secrets are compared; a change counts when it looks the same twice. */
const POLL_INTERVAL_MS = 2000;

export interface ReloadOptions<Config extends object> {
  readonly schema: z.ZodType<Config>;
  /** The settings file. */
  readonly path: string;
  /** What the service runs with. */
  readonly config: Config;
  /** Settings that can change while it runs, each with all that is below it: `receivers`, `tls.key`. */
  readonly reloadable: readonly string[];
  /**
   * Reads the secrets that these settings name and takes both over. Settings that are not `reloadable` are those of the start.
   * Rejects with a `PlasmawatchError` when something is wrong: then nothing has changed.
   */
  readonly apply: (config: Config) => Promise<void>;
  readonly clock: Clock;
  readonly logger: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** Called after each attempt. */
  readonly onDone?: () => void;
}

export class SettingsReload<Config extends object> {
  readonly #options: ReloadOptions<Config>;
  #config: Config;
  /** The state of the secrets' files that was last taken over, or refused. */
  #settled = '';
  #lastStamp = '';
  #timer: Timer | undefined;
  #running: Promise<void> = Promise.resolve();
  #isLookQueued = false;
  /** The reload that waits for what is under way; a flood of signals is one. */
  #queuedReload: Promise<void> | undefined;
  #isStopped = false;
  /** What is in force besides the settings of the start: for the service's status. Undefined where that is nothing worth saying. */
  remark: string | undefined;

  constructor(options: ReloadOptions<Config>) {
    this.#options = options;
    this.#config = options.config;
  }

  /** Begins to watch the files of secrets. */
  async start(): Promise<void> {
    this.#settled = await stampOf(renewableFilesOf(this.#config));
    this.#lastStamp = this.#settled;
    if (!this.#isStopped) this.#timer = this.#options.clock.every(POLL_INTERVAL_MS, () => this.#lookSoon());
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    await this.#running;
  }

  /** Resolves when what has been begun has come to its end. */
  settled(): Promise<void> {
    return this.#running;
  }

  /** Reads the settings again; resolves when they are taken over or refused. */
  reload(): Promise<void> {
    if (this.#queuedReload !== undefined) return this.#queuedReload;
    const reloading = this.#running.then(() => {
      this.#queuedReload = undefined;
      return this.#reloadSettings();
    });
    this.#queuedReload = reloading;
    this.#running = reloading;
    return reloading;
  }

  /** One look after the other, and at most one in wait. */
  #lookSoon(): void {
    if (this.#isLookQueued) return;
    this.#isLookQueued = true;
    this.#running = this.#running.then(() => {
      this.#isLookQueued = false;
      return this.#lookAtSecrets();
    });
  }

  async #reloadSettings(): Promise<void> {
    if (this.#isStopped) return;
    const { schema, path, reloadable, logger } = this.#options;
    const { value, diagnostics, source } = await loadYamlFile(schema, path);
    for (const diagnostic of diagnostics) {
      const level = diagnostic.severity === 'error' ? 'error' : 'warn';
      logger[level]({ code: 'PW_CONFIG' }, formatDiagnostic(diagnostic, source));
    }
    if (value === undefined) return this.#refused(`${path} is wrong`);
    const changed = changedSettings(this.#config, value);
    const isReloadable = (setting: string): boolean =>
      reloadable.some((each) => setting === each || setting.startsWith(`${each}.`));
    let next = this.#config;
    for (const setting of changed.filter(isReloadable)) next = withSetting(next, value, setting.split('.'));
    if (!(await this.#apply(next, 'settings'))) return;
    const restart = changed.filter((setting) => !isReloadable(setting));
    logger.info({ settings: path, changed: changed.filter(isReloadable) }, 'settings reloaded');
    this.remark = restart.length === 0 ? undefined : `a restart is needed for ${restart.join(', ')}`;
    if (this.remark !== undefined)
      logger.warn({ changed: restart }, `settings not taken over: ${this.remark}`);
    this.#options.onDone?.();
  }

  async #lookAtSecrets(): Promise<void> {
    if (this.#isStopped) return;
    const stamp = await stampOf(renewableFilesOf(this.#config));
    const isStill = stamp === this.#lastStamp;
    this.#lastStamp = stamp;
    if (!isStill || stamp === this.#settled || this.#isStopped) return;
    if (await this.#apply(this.#config, 'secrets')) {
      this.remark = undefined;
      this.#options.logger.info('changed secrets and certificates taken over');
      this.#options.onDone?.();
    }
  }

  /** Whether all is taken over; otherwise it is logged why not, and nothing has changed. */
  async #apply(config: Config, what: 'settings' | 'secrets'): Promise<boolean> {
    const stamp = await stampOf(renewableFilesOf(config));
    try {
      await this.#options.apply(config);
    } catch (error) {
      if (!(error instanceof PlasmawatchError)) throw error;
      if (what === 'secrets') this.#settled = stamp;
      this.#refused(messageOf(error), what, error.code);
      return false;
    }
    this.#config = config;
    this.#settled = stamp;
    return true;
  }

  #refused(reason: string, what: 'settings' | 'secrets' = 'settings', code = 'PW_CONFIG'): void {
    this.remark = `changed ${what} refused: ${reason}`;
    this.#options.logger.error({ code }, `changed ${what} refused, those in use stay: ${reason}`);
    this.#options.onDone?.();
  }
}

/** The settings that differ, as paths (`incidents.groupWait`); a section that only one has is one path, and so is a list. */
export function changedSettings(before: object, after: object, path = ''): string[] {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...names].flatMap((name) => {
    const [old, fresh] = [valueOf(before, name), valueOf(after, name)];
    const setting = path === '' ? name : `${path}.${name}`;
    if (isDeepStrictEqual(old, fresh)) return [];
    return isSection(old) && isSection(fresh) ? changedSettings(old, fresh, setting) : [setting];
  });
}

/** A copy with one setting as another has it. */
function withSetting<Config extends object>(
  config: Config,
  from: object,
  [name = '', ...rest]: string[],
): Config {
  const [mine, theirs] = [valueOf(config, name), valueOf(from, name)];
  const value =
    rest.length > 0 && isSection(mine) && isSection(theirs) ? withSetting(mine, theirs, rest) : theirs;
  return { ...config, [name]: value };
}

function valueOf(section: object, name: string): unknown {
  return Object.hasOwn(section, name) ? (section as Readonly<Record<string, unknown>>)[name] : undefined;
}

function isSection(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A text that changes when one of the files does. */
async function stampOf(files: readonly { readonly file: string }[]): Promise<string> {
  const stamps = await Promise.all(
    files.map(async ({ file }) => {
      try {
        const { ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true });
        return [file, ino, size, mtimeNs, ctimeNs].join(' ');
      } catch (error) {
        return `${file} ${messageOf(error)}`;
      }
    }),
  );
  return stamps.join('\n');
}
