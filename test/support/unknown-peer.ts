/** What an agent reports of a peer that no rule knows, with the fields that its severity follows from. */
import type { Anomaly, AnomalyKind, FlowState, Severity } from '../../common/event.ts';
import { TEST_EPOCH, type openParts } from './collector-parts.ts';
import { sampleAnomaly } from './sample-report.ts';

export interface Contact {
  readonly peer: string;
  readonly node?: string;
  readonly service?: string;
  readonly kind?: AnomalyKind;
  readonly state?: FlowState;
  readonly severity?: Severity;
  /** Wire bytes of the activity; the first connection carries none of them where it was not answered. */
  readonly bytes?: number;
  readonly count?: number;
  readonly message?: string;
  /** Which end is the reporting node's. */
  readonly localEnd?: Anomaly['localEnd'];
  /** Tells activities of one peer apart. */
  readonly visit?: number;
}

/** An activity as its agent reports it now. */
export function contactOf({
  peer,
  node = 'w1',
  service = 'object-manager',
  kind = 'unexpected-peer',
  state = 'established',
  severity = 'critical',
  bytes = 4200,
  count = 1,
  message = `${peer} is unexpected`,
  visit = 1,
  localEnd,
}: Contact): Anomaly {
  const { flow, ...rest } = sampleAnomaly(1);
  if (flow === null) throw new Error('the sample has a flow');
  const isAnswered = state !== 'attempt' && state !== 'refused';
  const asked = Math.min(bytes, 200);
  const sides = isAnswered
    ? {
        source: { ...flow.source, ip: peer, bytes: asked },
        destination: { ...flow.destination, bytes: bytes - asked },
      }
    : {
        source: { ...flow.source, ip: peer, packets: 1, bytes: 74 },
        destination: { ...flow.destination, packets: 0, bytes: 0 },
      };
  const moved = isAnswered ? flow.plasmawatch.payload : { source: 0, destination: 0 };
  const plasmawatch = { ...flow.plasmawatch, state, service, payload: moved, stream: moved };
  const id = `${node} ${peer} ${service} ${kind} ${visit}`;
  return {
    ...rest,
    id,
    kind,
    severity,
    node,
    flow: { ...flow, ...sides, plasmawatch },
    count,
    bytes,
    message,
    ...(localEnd === undefined ? {} : { localEnd }),
  };
}

/** A peer that was not answered. */
export function attemptOf(contact: Contact): Anomaly {
  return contactOf({ severity: 'warning', state: 'attempt', bytes: 74, ...contact });
}

/** `count` different addresses. */
export function addresses(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, index) => {
    const number = from + index;
    return `10.${100 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`;
  });
}

/** Reports of agents, each by its node, in one batch for each run of the same node. */
export function reportTo(
  { store, recorder }: Pick<Awaited<ReturnType<typeof openParts>>, 'store' | 'recorder'>,
  ...anomalies: readonly Anomaly[]
): void {
  const batches: Anomaly[][] = [];
  for (const anomaly of anomalies) {
    const batch = batches.at(-1);
    if (batch?.[0]?.node === anomaly.node) batch.push(anomaly);
    else batches.push([anomaly]);
  }
  for (const batch of batches) {
    const agent = batch[0]?.node ?? '';
    const next = store.lastSequence(agent, TEST_EPOCH) + 1;
    const reports = batch.map((report, index) => ({ sequence: next + index, report }));
    recorder.record(agent, TEST_EPOCH, reports);
  }
}
