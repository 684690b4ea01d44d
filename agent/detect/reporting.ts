/** What a detector reports with. */
import type { Anomaly } from '../../common/event.ts';

export interface Reporting {
  /** This node's name. */
  readonly node: string;
  readonly report: (anomaly: Anomaly) => void;
  /** The wall clock minus the clock of the times here, in ms, for words; left out where they are the same. */
  readonly wallAheadMs?: () => number;
  /** Unique ids of anomalies. */
  readonly createId: () => string;
}
