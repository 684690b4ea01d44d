/**
 * Rules that the collector hands out, kept on this node: a newer version replaces the one before in one step, and the
 * last good one is there after a restart without the collector. Only what carries the signature of the configured key is
 * taken, from the connection and from the disk alike; so is only what is newer, so that nobody plays back old rules.
 */
import type { KeyObject } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../common/clock.ts';
import { formatDiagnostic } from '../common/diagnostic.ts';
import { messageOf, systemCodeOf } from '../common/errors.ts';
import {
  handedRulesSchema,
  openRules,
  type HandedRules,
  type HandedRulesMessage,
} from '../common/handed-rules.ts';
import type { Logger } from '../common/log.ts';
import { parseMessage } from '../common/protocol.ts';
import { loadRules } from '../rules/load.ts';
import type { AcceptedRules } from '../rules/watch.ts';

/** The message as it came; what is unpacked beside it is only read. */
const MESSAGE_FILE = 'rules.json';

export interface HandedRulesOptions {
  /** Made where it is missing; nobody else writes there. */
  readonly folder: string;
  /** Ed25519, public. */
  readonly key: KeyObject;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Rules with their number. */
export interface NumberedRules {
  readonly version: number;
  readonly rules: AcceptedRules;
}

export class HandedRulesKeeper {
  readonly #options: HandedRulesOptions;
  #key: KeyObject;
  #current: NumberedRules | undefined;
  /** The latest message that waits while another one is looked at. */
  #next: HandedRulesMessage | undefined;
  #running: Promise<void> = Promise.resolve();
  #onChange: (rules: NumberedRules) => void = () => {};
  /** Rules that were refused: unsigned, older than what runs, or wrong. */
  refused = 0;

  private constructor(options: HandedRulesOptions) {
    this.#options = options;
    this.#key = options.key;
  }

  /** Takes what another key has signed from now on; the rules that run stay. */
  replaceKey(key: KeyObject): void {
    this.#key = key;
  }

  /** Takes over what an earlier run left; what is not right there is told and left alone. */
  static async open(options: HandedRulesOptions): Promise<HandedRulesKeeper> {
    const keeper = new HandedRulesKeeper(options);
    await keeper.#restore();
    return keeper;
  }

  /** The last good rules; undefined before the first. */
  get current(): NumberedRules | undefined {
    return this.#current;
  }

  /** Calls `work` with each newer version that is right, once it is on the disk. */
  onChange(work: (rules: NumberedRules) => void): void {
    this.#onChange = work;
  }

  /** Looks at rules that the collector sent. */
  take(message: HandedRulesMessage): void {
    const isWaiting = this.#next !== undefined;
    this.#next = message;
    if (!isWaiting) this.#running = this.#running.then(() => this.#takeNext());
  }

  /** Resolves when nothing is under way any more. */
  async close(): Promise<void> {
    this.#next = undefined;
    await this.#running;
  }

  async #takeNext(): Promise<void> {
    const message = this.#next;
    this.#next = undefined;
    if (message === undefined) return;
    try {
      await this.#install(message);
    } catch (error) {
      this.#refuse(`they cannot be kept: ${messageOf(error)}`);
    }
  }

  async #install(message: HandedRulesMessage): Promise<void> {
    const opened = openRules(message, this.#key);
    if ('problem' in opened) return this.#refuse(opened.problem);
    const { version } = opened.rules;
    const known = this.#current?.version ?? 0;
    if (version < known) return this.#refuse(`they are version ${version}, older than ${known}`);
    if (version === known) return;
    const rules = await this.#unpack(opened.rules);
    if (rules === undefined) return;
    await this.#keep(message);
    this.#current = { version, rules };
    this.#onChange(this.#current);
    await this.#tidyUp(version);
  }

  async #restore(): Promise<void> {
    const { folder } = this.#options;
    try {
      const text = await readFile(join(folder, MESSAGE_FILE), 'utf8');
      const parsed = parseMessage(handedRulesSchema, text);
      if (!parsed.ok) return this.#refuse(`${MESSAGE_FILE} in ${folder} is no message: ${parsed.problem}`);
      const opened = openRules(parsed.message, this.#key);
      if ('problem' in opened) return this.#refuse(opened.problem);
      const rules = await this.#unpack(opened.rules);
      if (rules !== undefined) this.#current = { version: opened.rules.version, rules };
    } catch (error) {
      if (systemCodeOf(error) !== 'ENOENT') this.#refuse(`they cannot be read: ${messageOf(error)}`);
    }
  }

  /** Writes the files beside those in use, and loads them from there, as any rules; undefined when they are wrong. */
  async #unpack({ version, files }: HandedRules): Promise<AcceptedRules | undefined> {
    const folder = join(this.#options.folder, String(version));
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true, mode: 0o700 });
    for (const { name, text } of files) await writeFile(join(folder, name), text, { mode: 0o600 });
    const loaded = await loadRules(folder, this.#options);
    const { ruleset } = loaded;
    if (ruleset !== undefined) return { ...loaded, ruleset };
    const problem = loaded.diagnostics.find(({ severity }) => severity === 'error');
    await rm(folder, { recursive: true });
    this.#refuse(
      problem === undefined ? 'they are wrong' : formatDiagnostic(problem, loaded.sources.get(problem.file)),
    );
    return undefined;
  }

  /** One step: after a crash there is the old message or the new one. */
  async #keep(message: HandedRulesMessage): Promise<void> {
    const file = join(this.#options.folder, MESSAGE_FILE);
    await writeFile(`${file}.new`, JSON.stringify(message), { mode: 0o600, flush: true });
    await rename(`${file}.new`, file);
  }

  /** Removes the files of versions before; what cannot be removed now is removed next time. */
  async #tidyUp(version: number): Promise<void> {
    const { folder } = this.#options;
    for (const name of await readdir(folder)) {
      if (!/^\d+$/.test(name) || name === String(version)) continue;
      await rm(join(folder, name), { recursive: true, force: true });
    }
  }

  #refuse(problem: string): void {
    this.refused++;
    this.#options.logger.error(
      { code: 'PW_RULES' },
      `the collector's rules are refused, those before stay: ${problem}`,
    );
  }
}
