/** A document of the Elastic Common Schema (https://www.elastic.co/guide/en/ecs/current); what it lacks is under `plasmawatch`. */
import { formatMilliseconds } from '../../../common/time.ts';
import type { Severity } from '../../../common/event.ts';
import { presentIncident } from '../../incident/present.ts';
import { isOutbound } from '../../incident/story.ts';
import type { Notification, NotificationType } from '../../store/store.ts';

const ECS_VERSION = '8.17.0';

/** Numbers as Elastic's own rules have them: low 21, medium 47, high 73, critical 99. */
const SEVERITY_NUMBERS: Readonly<Record<Severity, number>> = { info: 21, warning: 47, critical: 99 };

/** `event.type`: does the story begin, go on or end. */
function eventTypeOf(type: NotificationType): string {
  if (type === 'opened' || type === 'reopened') return 'start';
  return type === 'resolved' ? 'end' : 'change';
}

export function toEcs({ id, type, incident, heldBack, createdMs }: Notification): object {
  const { kind, severity, peer, service, nodes, first, last, count, bytes, message, title } = incident;
  const stranger = peer === null ? undefined : { address: peer, ip: peer };
  return {
    '@timestamp': formatMilliseconds(createdMs),
    ecs: { version: ECS_VERSION },
    message: title,
    event: {
      id,
      kind: 'alert',
      category: kind === 'blind' ? ['host'] : ['network', 'intrusion_detection'],
      type: [eventTypeOf(type)],
      action: `incident-${type}`,
      module: 'plasmawatch',
      dataset: 'plasmawatch.incident',
      severity: SEVERITY_NUMBERS[severity],
      reason: message,
      start: first,
      end: last,
      created: formatMilliseconds(createdMs),
    },
    observer: { vendor: 'plasmawatch', product: 'plasmawatch', type: 'ids' },
    host: { name: nodes[0] ?? 'unknown' },
    rule: { name: kind, category: 'plasmawatch' },
    ...(stranger === undefined ? {} : { [isOutbound(kind) ? 'destination' : 'source']: stranger }),
    ...(kind === 'blind'
      ? {}
      : {
          network: {
            transport: 'tcp',
            bytes,
            direction: isOutbound(kind) ? 'egress' : 'ingress',
            ...(service === null ? {} : { application: service.toLowerCase() }),
          },
        }),
    related: { hosts: nodes, ip: peer === null ? [] : [peer] },
    plasmawatch: { incident: presentIncident(incident), severity, count, heldBack },
  };
}
