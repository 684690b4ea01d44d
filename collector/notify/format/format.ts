/** A notification as a document for programs, in the vocabulary that they speak. */
import { formatMilliseconds } from '../../../common/time.ts';
import { presentIncident } from '../../incident/present.ts';
import type { Notification } from '../../store/store.ts';
import { toCloudEvent } from './cloud-event.ts';
import { toEcs } from './ecs.ts';
import { toOcsfFinding, toOcsfNetworkActivity } from './ocsf.ts';

export const FORMATS = ['plasmawatch', 'ecs', 'ocsf', 'ocsf-network', 'cloudevents'] as const;
export type Format = (typeof FORMATS)[number];

const DOCUMENTS: Readonly<Record<Format, (notification: Notification) => object>> = {
  plasmawatch: toPlasmawatch,
  ecs: toEcs,
  ocsf: toOcsfFinding,
  'ocsf-network': toOcsfNetworkActivity,
  cloudevents: toCloudEvent,
};

/** One line of JSON: the same text for every attempt, below 20 kB. */
export function formatNotification(format: Format, notification: Notification): string {
  return JSON.stringify(DOCUMENTS[format](notification));
}

/** The media type of a body in this format. */
export function contentTypeOf(format: Format): string {
  return format === 'cloudevents' ? 'application/cloudevents+json; charset=utf-8' : 'application/json';
}

function toPlasmawatch({ type, incident, heldBack, createdMs }: Notification): object {
  return {
    type: `incident.${type}`,
    timestamp: formatMilliseconds(createdMs),
    heldBack,
    data: presentIncident(incident),
  };
}
