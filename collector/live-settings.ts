/**
 * What a running collector can change: its secrets, and the settings of `RELOADABLE`. The parts ask here each time, so a
 * change counts from the next request, connection or notification on.
 */
import type { ApiToken } from './api/access.ts';
import { secureContextOptions } from './api/server.ts';
import { checkExposure, type CollectorConfig } from './config.ts';
import { audienceOf } from './incident/audiences.ts';
import { muteTimes } from './incident/mute-times.ts';
import type { MutedBy } from './incident/muting.ts';
import { nodeLabelsOf } from './incident/node-labels.ts';
import { routed } from './incident/routing.ts';
import type { Timing } from './incident/timing.ts';
import { createNotifier, type Outside } from './notify/notifier-factory.ts';
import type { Notifier } from './notify/notifier.ts';
import type { CollectorSecrets } from './secrets.ts';
import type { Incident } from './store/store.ts';

/** Settings that a reload takes over, with all that is below them. All others need a restart. */
export const RELOADABLE = [
  'agentTokenFile',
  'apiTokenFile',
  'apiTokens',
  'incidents.groupWait',
  'incidents.messagesPerHour',
  'incidents.repeatInterval',
  'incidents.updateInterval',
  'influx.passwordFile',
  'listen.allowedHosts',
  'muteTimes',
  'nodeLabels',
  'receivers',
  'routes',
  'tls.cert',
  'tls.key',
] as const;

/** Everything that follows from settings and secrets; made as a whole before any of it counts. */
interface Derived {
  readonly config: CollectorConfig;
  readonly secrets: CollectorSecrets;
  readonly notifiers: ReadonlyMap<string, Notifier>;
  readonly receiversOf: (incident: Incident) => readonly string[];
  readonly mutedByTime: MutedBy;
}

export class LiveSettings {
  readonly #outside: Outside;
  #now: Derived;

  /** @throws PlasmawatchError as `check` */
  constructor(config: CollectorConfig, secrets: CollectorSecrets, outside: Outside) {
    this.#outside = outside;
    this.#now = this.#derive(config, secrets);
  }

  get config(): CollectorConfig {
    return this.#now.config;
  }

  get secrets(): CollectorSecrets {
    return this.#now.secrets;
  }

  get apiTokens(): readonly ApiToken[] {
    return this.#now.secrets.apiTokens ?? [];
  }

  /** By name of the receiver. One whose settings and secrets did not change is the same object as before. */
  get notifiers(): ReadonlyMap<string, Notifier> {
    return this.#now.notifiers;
  }

  get timing(): Timing {
    const { groupWait, updateInterval, repeatInterval } = this.#now.config.incidents;
    return { groupWaitMs: groupWait, updateIntervalMs: updateInterval, repeatIntervalMs: repeatInterval };
  }

  readonly receiversOf = (incident: Incident): readonly string[] => this.#now.receiversOf(incident);

  readonly mutedByTime: MutedBy = (incident, nowMs) => this.#now.mutedByTime(incident, nowMs);

  /**
   * Takes over what may change while the collector runs; the caller hands nothing else that differs.
   * @throws PlasmawatchError PW_LISTEN when it would be open to the network without tokens, or certificate and key are unusable;
   *   PW_SECRET, PW_NOTIFY for a receiver. Then nothing has changed.
   */
  replace(config: CollectorConfig, secrets: CollectorSecrets): void {
    this.#now = this.#derive(config, secrets, this.#now);
  }

  #derive(config: CollectorConfig, secrets: CollectorSecrets, before?: Derived): Derived {
    checkExposure(config, secrets);
    if (secrets.tls !== undefined) secureContextOptions(secrets.tls);
    const labelsOf = nodeLabelsOf(config.nodeLabels);
    return {
      config,
      secrets,
      notifiers: this.#notifiers(config, secrets, before),
      receiversOf: routed(config.routes, labelsOf, audienceOf(config.receivers)),
      mutedByTime: muteTimes(config.muteTimes, labelsOf),
    };
  }

  #notifiers(config: CollectorConfig, secrets: CollectorSecrets, before?: Derived): Map<string, Notifier> {
    return new Map(
      config.receivers.map((receiver) => {
        const { name } = receiver;
        const own = secrets.receivers.get(name) ?? {};
        const former = before?.config.receivers.find((other) => other.name === name);
        const isSame =
          JSON.stringify([former, before?.secrets.receivers.get(name) ?? {}]) ===
          JSON.stringify([receiver, own]);
        const kept = isSame ? before?.notifiers.get(name) : undefined;
        return [name, kept ?? createNotifier(receiver, own, this.#outside)];
      }),
    );
  }
}
