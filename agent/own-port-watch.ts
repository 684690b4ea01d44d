/** This node's object-manager port, found again and again: logged when it changes, and reported while it is a guess. */
import type { Address } from '../common/address.ts';
import type { Clock } from '../common/clock.ts';
import type { Logger } from '../common/log.ts';
import type { ServicePorts } from '../rules/schema.ts';
import type { Reporting } from './detect/reporting.ts';
import { UnconfirmedPortDetector } from './detect/unconfirmed-port.ts';
import { findOwnPort, isConfirmed, type OwnPort } from './membership/own-port.ts';
import type { Member } from './membership/provider.ts';
import type { Raylet } from './ray/raylet.ts';

/** Time without a confirmed port after which it is reported. */
const CONFIRM_WITHIN_MS = 300_000;
/** Guessed ports that are named. */
const MAX_GUESSED = 16;

interface OwnPortWatchOptions {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
  readonly reporting: Reporting;
  /** Whether a raylet is expected on this node; `true` when left out. */
  readonly isRayExpected?: boolean | undefined;
  /** 5 minutes when left out, in ms. */
  readonly confirmWithinMs?: number | undefined;
  /** Rejects while raylets cannot be looked for. */
  readonly findRaylets: () => Promise<readonly Raylet[]>;
  readonly localAddresses: () => readonly string[];
  readonly isListenedAt?: ((address: Address, port: number) => Promise<boolean>) | undefined;
  /** The services of the rules as they are now. */
  readonly services: () => ReadonlyMap<string, ServicePorts>;
  readonly members: () => readonly Member[];
  /** The ports that are watched for want of a better one. */
  readonly guessed: () => readonly number[];
}

export class OwnPortWatch {
  readonly #options: OwnPortWatchOptions;
  readonly #unconfirmed: UnconfirmedPortDetector;
  #port: OwnPort | undefined;
  #running: Promise<void> | undefined;

  constructor(options: OwnPortWatchOptions) {
    this.#options = options;
    const { reporting, confirmWithinMs = CONFIRM_WITHIN_MS } = options;
    this.#unconfirmed = new UnconfirmedPortDetector(reporting, confirmWithinMs);
  }

  /** The port as it was found last, and who says so; undefined before it was looked for. */
  get port(): OwnPort | undefined {
    return this.#port;
  }

  /** Looks for the port, unless that is being done. Resolves when it is found, or known to be a guess. */
  refresh(): Promise<void> {
    this.#running ??= this.#find().finally(() => (this.#running = undefined));
    return this.#running;
  }

  /** Resolves when nothing is looked for any more. */
  async stop(): Promise<void> {
    await this.#running;
  }

  async #find(): Promise<void> {
    const { clock, findRaylets, localAddresses, isListenedAt, services, members, guessed } = this.#options;
    const found = await findOwnPort({
      services: services(),
      members: members(),
      raylets: await findRaylets().catch(() => undefined),
      localAddresses: localAddresses(),
      // What cannot be seen confirms nothing.
      isListenedAt: isListenedAt && ((address, port) => isListenedAt(address, port).catch(() => false)),
      guessed: guessed().slice(0, MAX_GUESSED),
    });
    const isGood = isConfirmed(found) || (this.#options.isRayExpected ?? true);
    const port: OwnPort = isGood ? found : { source: 'not expected', ports: found.ports };
    this.#log(port);
    this.#port = port;
    this.#unconfirmed.observe(port, clock.monotonic());
  }

  #log(port: OwnPort): void {
    const before = this.#port;
    if (before?.source === port.source && before.doubt === port.doubt) return;
    const { logger } = this.#options;
    const { ports, source, doubt } = port;
    if (!isConfirmed(port))
      logger.warn({ ports, reason: doubt }, 'object-manager port guessed, not confirmed');
    else if (source !== 'not expected') logger.info({ ports, source }, 'object-manager port confirmed');
  }
}
