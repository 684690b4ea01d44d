/**
 * The rules that an agent runs: those of its own file, or of the collector once it has handed some out. Either way a
 * change reaches the running agent, and what is wrong leaves it as it is.
 */
import type { KeyObject } from 'node:crypto';
import { join } from 'node:path';
import type { AgentConfig } from '../agent/config.ts';
import { HandedRulesKeeper } from '../agent/handed-rules.ts';
import type { RulesLink } from '../agent/uplink/rules-link.ts';
import { systemClock } from '../common/clock.ts';
import { formatDiagnostic } from '../common/diagnostic.ts';
import { parseVerifyingKey, type RulesInUse } from '../common/handed-rules.ts';
import type { Logger } from '../common/log.ts';
import { packagePath } from '../common/package.ts';
import { loadPem } from '../common/secret.ts';
import { loadRules } from '../rules/load.ts';
import type { Ruleset } from '../rules/match.ts';
import { watchRules, type RulesWatcher } from '../rules/watch.ts';
import type { Terminal } from './command.ts';
import { writeProblem } from './output.ts';
import { describeProblems } from './rules-file.ts';

/** Takes new rules over; called with one after the other. */
type Apply = (ruleset: Ruleset) => Promise<void>;

export class AgentRules implements RulesLink {
  /** What the agent begins with. */
  readonly ruleset: Ruleset;
  readonly #path: string;
  readonly #keeper: HandedRulesKeeper | undefined;
  readonly #logger: Logger;
  #inUse: RulesInUse;
  #watcher: RulesWatcher | undefined;
  #applying: Promise<void> = Promise.resolve();

  private constructor(
    start: { readonly ruleset: Ruleset; readonly inUse: RulesInUse; readonly path: string },
    keeper: HandedRulesKeeper | undefined,
    logger: Logger,
  ) {
    this.ruleset = start.ruleset;
    this.#inUse = start.inUse;
    this.#path = start.path;
    this.#keeper = keeper;
    this.#logger = logger;
  }

  /**
   * Loads the rules, or answers undefined when those of the agent's own file are needed and wrong: then the problems have
   * been told.
   * @throws PlasmawatchError PW_SECRET when the collector's key cannot be used
   */
  static async open(
    { rules, collector, stateFolder }: AgentConfig,
    terminal: Pick<Terminal, 'stderr'>,
    logger: Logger,
  ): Promise<AgentRules | undefined> {
    const keeper =
      collector.rulesKeyFile === undefined
        ? undefined
        : await HandedRulesKeeper.open({
            folder: join(stateFolder, 'rules'),
            key: parseVerifyingKey(await loadPem('public key of the rules', collector.rulesKeyFile)),
            clock: systemClock,
            logger,
          });
    const path = rules ?? packagePath('rules/object-manager.yaml');
    const handed = keeper?.current;
    if (handed !== undefined) {
      const { ruleset, fingerprint } = handed.rules;
      logger.info({ version: handed.version }, "the collector's rules are in use");
      return new AgentRules(
        { ruleset, inUse: { version: handed.version, fingerprint }, path },
        keeper,
        logger,
      );
    }
    const loaded = await loadRules(path, { clock: systemClock });
    for (const problem of describeProblems(loaded)) writeProblem(terminal, problem);
    const { ruleset, fingerprint } = loaded;
    if (ruleset === undefined) return undefined;
    return new AgentRules({ ruleset, inUse: { version: null, fingerprint }, path }, keeper, logger);
  }

  /** How many rules of the collector were refused. */
  get refused(): number {
    return this.#keeper?.refused ?? 0;
  }

  /** Hands changes to the running agent. The agent's own file is watched only while the collector's rules are not in use. */
  follow(apply: Apply): void {
    if (this.#inUse.version === null) this.#watchFile(apply);
    this.#keeper?.onChange(({ version, rules }) => {
      void this.#watcher?.close();
      this.#apply(apply, rules.ruleset, { version, fingerprint: rules.fingerprint });
    });
  }

  /** Resolves when nothing is under way any more. */
  async close(): Promise<void> {
    await this.#watcher?.close();
    await this.#keeper?.close();
    await this.#applying;
  }

  /** Takes rules that another key has signed from now on. */
  replaceKey(key: KeyObject): void {
    this.#keeper?.replaceKey(key);
  }

  inUse(): RulesInUse {
    return this.#inUse;
  }

  wanted(): ReturnType<RulesLink['wanted']> {
    if (this.#keeper === undefined) return undefined;
    return { type: 'follow-rules', version: this.#keeper.current?.version ?? 0 };
  }

  take(message: Parameters<RulesLink['take']>[0]): void {
    this.#keeper?.take(message);
  }

  #watchFile(apply: Apply): void {
    const logger = this.#logger;
    this.#watcher = watchRules({
      path: this.#path,
      clock: systemClock,
      logger,
      fingerprint: this.#inUse.fingerprint,
      onChange: ({ ruleset, fingerprint, diagnostics, sources }) => {
        for (const diagnostic of diagnostics) {
          logger.warn({ code: 'PW_RULES' }, formatDiagnostic(diagnostic, sources.get(diagnostic.file)));
        }
        this.#apply(apply, ruleset, { version: null, fingerprint });
      },
      onRefused: (diagnostics, { sources }) => {
        for (const diagnostic of diagnostics) {
          logger.error(
            { code: 'PW_RULES' },
            `changed rules refused, the old ones stay: ${formatDiagnostic(diagnostic, sources.get(diagnostic.file))}`,
          );
        }
      },
    });
  }

  /** Says that the rules were taken over once they are in force, and not before. */
  #apply(apply: Apply, ruleset: Ruleset, inUse: RulesInUse): void {
    this.#applying = this.#applying.then(async () => {
      await apply(ruleset);
      this.#inUse = inUse;
      const { version } = inUse;
      if (version === null) this.#logger.info({ rules: this.#path }, 'rules taken over');
      else this.#logger.info({ version }, "the collector's rules taken over");
    });
  }
}
