/** What a detector reports with. */
import type { Anomaly } from '../../common/event.ts';

export interface Reporting {
  /** This node's name. */
  readonly node: string;
  readonly report: (anomaly: Anomaly) => void;
  /** The wall clock minus the clock that times are told by, in ms, for words; left out where it is the wall clock. */
  readonly wallAheadMs?: () => number;
  /** Unique ids of anomalies. */
  readonly createId: () => string;
}
