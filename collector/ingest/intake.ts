/**
 * What an agent reports, as it is taken in: what the collector can know better is not the agent's word. An agent that lies
 * about times or invents services changes neither what other agents' incidents say nor how many incidents there are.
 */
import type { Clock } from '../../common/clock.ts';
import { OTHER_SERVICE, type Anomaly, type Report } from '../../common/event.ts';
import { KNOWN_SERVICES } from '../../rules/schema.ts';
import type { CollectorMetrics } from '../metrics.ts';
import { withPossibleTimes } from './event-times.ts';

export interface IntakeOptions {
  readonly clock: Pick<Clock, 'now'>;
  readonly metrics: CollectorMetrics;
  /** An agent's anomaly with its times by the collector's clock. */
  readonly inOurTime: (agent: string, anomaly: Anomaly) => Anomaly;
  /** How far ahead the time of an event may be; milliseconds. */
  readonly maxSkewMs: number;
  /** Services of rules that agents have of their own. */
  readonly services: readonly string[];
  /** Services of the rules that the collector distributes, as they are now. */
  readonly distributedServices: () => ReadonlySet<string>;
}

export class Intake {
  readonly #options: IntakeOptions;
  readonly #services: ReadonlySet<string>;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#services = new Set([...KNOWN_SERVICES.keys(), ...options.services]);
  }

  /** A report as it is stored: as it was sent, unless a time in it is impossible or its service unknown. */
  toStore(agent: string, report: Report): Report {
    const { metrics, inOurTime } = this.#options;
    let stored = this.#withPossibleTimes(report);
    if (stored !== report) {
      metrics.timesCorrected.inc();
      // Where it is the agent's clock that is wrong, what it means is known.
      if (report.type === 'anomaly') stored = this.#withPossibleTimes(inOurTime(agent, report));
    }
    const known = this.#withKnownService(stored);
    if (known !== stored) metrics.servicesUnknown.inc();
    return known;
  }

  /** An anomaly as incidents are made of it: by the collector's clock. */
  toGroup(agent: string, anomaly: Anomaly): Anomaly {
    const possible = this.#withPossibleTimes(this.#options.inOurTime(agent, anomaly));
    return this.#withKnownService(possible) as Anomaly;
  }

  #withPossibleTimes(report: Report): Report {
    const { clock, maxSkewMs } = this.#options;
    return withPossibleTimes(report, { nowMs: clock.now(), maxSkewMs });
  }

  #withKnownService(report: Report): Report {
    if (report.type === 'evidence' || report.flow === null) return report;
    const { flow } = report;
    const { service } = flow.plasmawatch;
    if (service === null || service === OTHER_SERVICE || this.#isKnown(service)) return report;
    const other = { ...flow, plasmawatch: { ...flow.plasmawatch, service: OTHER_SERVICE } };
    return { ...report, flow: other };
  }

  #isKnown(service: string): boolean {
    return this.#services.has(service) || this.#options.distributedServices().has(service);
  }
}
