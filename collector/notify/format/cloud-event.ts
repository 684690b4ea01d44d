/** CloudEvents 1.0 in structured JSON (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md). */
import { formatMilliseconds } from '../../../common/time.ts';
import { presentIncident } from '../../incident/present.ts';
import type { Notification } from '../../store/store.ts';

/** A URI reference: a collector has no address that others could be sure to reach. */
const SOURCE = '/plasmawatch/collector';

/** Source and id are the same in every attempt: consumers drop repeats by them. */
export function toCloudEvent({ id, type, incident, heldBack, createdMs }: Notification): object {
  return {
    specversion: '1.0',
    id,
    source: SOURCE,
    type: `io.plasmawatch.incident.${type}`,
    subject: incident.id,
    time: formatMilliseconds(createdMs),
    datacontenttype: 'application/json',
    data: { ...presentIncident(incident), heldBack },
  };
}
