/** What a detector reports with. */
import type { Anomaly } from '../../common/event.ts';

export interface Reporting {
  /** This node's name. */
  readonly node: string;
  readonly report: (anomaly: Anomaly) => void;
  /** Unique ids of anomalies. */
  readonly createId: () => string;
}
