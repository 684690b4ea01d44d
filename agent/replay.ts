/**
 * Replay: the pipeline of the agent with files for a source and the packets' own time for a clock. What it reports
 * is what an agent would have said.
 */
import type { FlowCounts, Frame, FrameSink, PacketSource } from './capture/source.ts';
import type { ActivityPhase } from './detect/activities.ts';
import { Pipeline, type PipelineTotals, type Policy } from './pipeline.ts';
import type { Anomaly, EvidenceReport } from '../common/event.ts';

/** Packets that are no earlier than this, in seconds, are out of order only. */
const DISORDER_SECONDS = 60;
/** As many packets in a row that are earlier than that: the clock that stamped them was set back, or another capture begins. */
const EARLIER_PACKETS = 100;

interface ReplayOptions {
  readonly node: string;
  readonly policy: Policy;
  readonly maxFlows: number;
  /** Takes each anomaly once, when its activity is over, with its final counts. */
  readonly onAnomaly: (anomaly: Anomaly) => void;
  /** Takes the first packets of an anomaly's connection; before or after the anomaly itself. */
  readonly onEvidence?: (evidence: EvidenceReport) => void;
}

/** Plays sources one after the other as if they were one. */
export class Replay implements FrameSink {
  readonly #pipeline: Pipeline;
  #source: PacketSource | undefined;
  #anomalies = 0;
  /** Time of the newest packet: whole seconds, which is as often as an agent looks at its clock. */
  #seconds = 0;
  /** Packets in a row that are much earlier than the newest. */
  #earlierPackets = 0;

  constructor({ node, policy, maxFlows, onAnomaly, onEvidence }: ReplayOptions) {
    this.#pipeline = new Pipeline({
      node,
      policy,
      maxFlows,
      countOnOneInterface: false,
      createId: sequentialIds('replay'),
      interfaceName: (index) => this.#source?.interfaceName(index),
      reportEvidence: (evidence) => onEvidence?.(evidence),
      // A file delivers every packet.
      wantPackets: () => {},
      reportAnomaly: (anomaly, phase: ActivityPhase) => {
        if (phase !== 'over') return;
        this.#anomalies++;
        onAnomaly(anomaly);
      },
    });
  }

  /** Plays one source to its end. @throws PlasmawatchError when it fails; what it gave before counts. */
  async play(source: PacketSource): Promise<void> {
    this.#source = source;
    await source.run(this);
  }

  /** Ends every flow and activity, and tells the totals of all that was played. */
  end(): PipelineTotals & { readonly anomalies: number } {
    this.#pipeline.end(this.#seconds * 1000);
    return { ...this.#pipeline.totals(), anomalies: this.#anomalies };
  }

  frame(frame: Frame): void {
    if (frame.seconds > this.#seconds) this.#tick(frame.seconds);
    else if (frame.seconds < this.#seconds - DISORDER_SECONDS) this.#noteEarlier(frame.seconds);
    else this.#earlierPackets = 0;
    this.#pipeline.frame(frame);
  }

  #tick(seconds: number): void {
    this.#earlierPackets = 0;
    this.#seconds = seconds;
    this.#pipeline.tick(seconds * 1000);
  }

  /** Time would stand still until the packets are where they were: what goes on is ended instead, and begins anew. */
  #noteEarlier(seconds: number): void {
    this.#earlierPackets++;
    if (this.#earlierPackets < EARLIER_PACKETS) return;
    this.#pipeline.end(this.#seconds * 1000);
    this.#tick(seconds);
  }

  counts(counts: FlowCounts): void {
    this.#pipeline.counts(counts);
  }

  blockEnd(): void {
    this.#pipeline.blockEnd();
  }
}

/** Ids that are the same in every run: `replay-1`, `replay-2`, … */
function sequentialIds(prefix: string): () => string {
  let last = 0;
  return () => `${prefix}-${++last}`;
}
