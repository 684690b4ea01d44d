import { CloudEvent } from 'cloudevents';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ANOMALY_KINDS } from '../../../../common/event.ts';
import { contentTypeOf, FORMATS, formatNotification } from '../../../../collector/notify/format/format.ts';
import { INCIDENT_STATES, NOTIFICATION_TYPES, type Notification } from '../../../../collector/store/store.ts';
import { sampleIncident, sampleNotification } from '../../../support/collector-parts.ts';

/** Notifications of every type, kind and state, with what may be missing missing. */
const all: Notification[] = NOTIFICATION_TYPES.flatMap((type) =>
  ANOMALY_KINDS.flatMap((kind) =>
    INCIDENT_STATES.map((state) => {
      const isBlind = kind === 'blind';
      const bare = isBlind ? { peer: null, service: null } : {};
      return sampleNotification({ type, incident: sampleIncident({ kind, state, ...bare }) });
    }),
  ),
);

const documentsOf = (format: (typeof FORMATS)[number]): unknown[] =>
  all.map((notification) => JSON.parse(formatNotification(format, notification)) as unknown);

describe.each(FORMATS)('a document in the format %s', (format) => {
  it('is one line, the same in every attempt, and below 20 kB for the largest of incidents', () => {
    const nodes = Array.from({ length: 50 }, (_, index) => `${'n'.repeat(100)}${index}`);
    const incident = sampleIncident({ nodes, message: 'm'.repeat(1024), title: 't'.repeat(800) });
    const text = formatNotification(format, sampleNotification({ incident }));
    expect(text).not.toContain('\n');
    expect(Buffer.byteLength(text)).toBeLessThan(20_000);
    expect(formatNotification(format, sampleNotification({ incident }))).toBe(text);
    expect(contentTypeOf(format)).toMatch(/^application\/(cloudevents\+)?json/);
  });
});

describe('CloudEvents', () => {
  it('are valid for the package of the standard', () => {
    for (const document of documentsOf('cloudevents')) {
      const event = new CloudEvent(document as ConstructorParameters<typeof CloudEvent>[0]);
      expect(event.validate()).toBe(true);
      expect(event).toMatchObject({ specversion: '1.0', source: '/plasmawatch/collector', subject: 'INC-1' });
    }
  });

  it('name what happened in the type, and the message in the id', () => {
    expect(JSON.parse(formatNotification('cloudevents', sampleNotification()))).toMatchObject({
      id: 'msg_00000000-0000-4000-8000-000000000001',
      type: 'io.plasmawatch.incident.opened',
      time: '2026-11-23T09:42:13.000000000Z',
      data: { id: 'INC-1', peer: '10.77.9.66' },
    });
  });
});

const endpoint = z
  .strictObject({ ip: z.ipv4().optional(), hostname: z.string().optional(), svc_name: z.string().optional() })
  // `at_least_one` of the schema's network_endpoint.
  .refine(({ ip, hostname, svc_name: service }) => (ip ?? hostname ?? service) !== undefined);
const connection = z.strictObject({
  protocol_num: z.literal(6),
  protocol_name: z.literal('tcp'),
  direction_id: z.union([z.literal(1), z.literal(2)]),
});
/** What ocsf-schema's events/base_event.json requires, and the objects that we fill with what those require. */
const baseEvent = {
  time: z.number().int().positive(),
  severity_id: z.union([z.literal(1), z.literal(3), z.literal(5)]),
  count: z.number().int(),
  start_time: z.number().int(),
  end_time: z.number().int(),
  message: z.string(),
  metadata: z.strictObject({
    version: z.string(),
    uid: z.string(),
    correlation_uid: z.string(),
    product: z.strictObject({ name: z.string(), vendor_name: z.string() }),
  }),
};
const detectionFinding = z
  .strictObject({
    ...baseEvent,
    category_uid: z.literal(2),
    class_uid: z.literal(2004),
    activity_id: z.number().int().min(1).max(3),
    type_uid: z.number(),
    status_id: z.number().int().min(1).max(4),
    confidence_id: z.literal(3),
    is_alert: z.boolean(),
    finding_info: z.strictObject({
      uid: z.string(),
      title: z.string(),
      desc: z.string(),
      types: z.array(z.string()),
      created_time: z.number(),
      modified_time: z.number(),
      first_seen_time: z.number(),
      last_seen_time: z.number(),
      analytic: z.strictObject({ type_id: z.literal(1), name: z.string() }),
    }),
    evidences: z.array(
      z.strictObject({ src_endpoint: endpoint, dst_endpoint: endpoint, connection_info: connection }),
    ),
    resources: z.array(z.strictObject({ type: z.string(), name: z.string() })),
  })
  .refine((event) => event.type_uid === event.class_uid * 100 + event.activity_id);
const networkActivity = z.strictObject({
  ...baseEvent,
  category_uid: z.literal(4),
  class_uid: z.literal(4001),
  activity_id: z.literal(6),
  type_uid: z.literal(400_106),
  src_endpoint: endpoint,
  dst_endpoint: endpoint,
  connection_info: connection,
  traffic: z.strictObject({ bytes: z.number().int() }),
  app_name: z.string().optional(),
});

describe('OCSF', () => {
  it('has what the schema of a Detection Finding requires', () => {
    for (const document of documentsOf('ocsf')) {
      expect(detectionFinding.safeParse(document).error?.issues).toBeUndefined();
    }
  });

  it('has what the schema of a Network Activity requires, and a finding where there is no connection', () => {
    const either = z.discriminatedUnion('class_uid', [networkActivity, detectionFinding]);
    const documents = documentsOf('ocsf-network').map((document) => either.parse(document));
    expect(new Set(documents.map(({ class_uid: uid }) => uid))).toEqual(new Set([4001, 2004]));
  });

  it('creates, updates and closes a finding', () => {
    const activities = NOTIFICATION_TYPES.map((type) => {
      const text = formatNotification('ocsf', sampleNotification({ type }));
      return [type, (JSON.parse(text) as { activity_id: number }).activity_id];
    });
    expect(Object.fromEntries(activities)).toEqual({
      opened: 1,
      resolved: 3,
      escalated: 2,
      updated: 2,
      repeated: 2,
      reopened: 2,
    });
  });
});

describe('ECS', () => {
  it('puts the stranger on the side of the connection that it is on', () => {
    const peer = (kind: 'unexpected-peer' | 'unexpected-destination' | 'blind'): unknown => {
      const incident = sampleIncident({ kind, peer: kind === 'blind' ? null : '10.77.9.66' });
      return JSON.parse(formatNotification('ecs', sampleNotification({ incident })));
    };
    const address = { address: '10.77.9.66', ip: '10.77.9.66' };
    expect(peer('unexpected-peer')).toMatchObject({ source: address, network: { direction: 'ingress' } });
    expect(peer('unexpected-destination')).toMatchObject({ destination: address });
    expect(peer('blind')).not.toHaveProperty('source');
    expect(peer('blind')).not.toHaveProperty('network');
  });

  it('has the fields that every ECS document of an alert has, with values that ECS allows', () => {
    const categories = new Set(['host', 'network', 'intrusion_detection']);
    const types = new Set(['start', 'end', 'change']);
    for (const document of documentsOf('ecs')) {
      const { event, ecs, ...rest } = document as {
        event: { kind: string; category: string[]; type: string[]; severity: number };
        ecs: { version: string };
        '@timestamp': string;
      };
      expect(Date.parse(rest['@timestamp'])).not.toBeNaN();
      expect(ecs.version).toMatch(/^\d+\.\d+\.\d+$/);
      expect(event.kind).toBe('alert');
      expect(event.category.filter((each) => !categories.has(each))).toEqual([]);
      expect(event.type.filter((each) => !types.has(each))).toEqual([]);
    }
  });
});
