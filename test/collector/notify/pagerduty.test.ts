import { describe, expect, it } from 'vitest';
import { renderPagerdutyEvent } from '../../../collector/notify/pagerduty.ts';
import { writePlainly } from '../../../collector/notify/wording.ts';
import type { Notification } from '../../../collector/store/store.ts';
import { sampleIncident, sampleNotification } from '../../support/collector-parts.ts';

interface Event {
  readonly event_action: string;
  readonly dedup_key: string;
  readonly payload: { readonly summary: string; readonly source: string; readonly severity: string };
}

const render = (changes: Partial<Notification> = {}): Event =>
  renderPagerdutyEvent(sampleNotification(changes), writePlainly) as Event;

describe('an event of PagerDuty', () => {
  it('triggers, and resolves under the same key', () => {
    expect(render()).toMatchObject({
      event_action: 'trigger',
      payload: {
        summary: 'New: Unexpected peer 10.77.9.66 talks to the object manager on w1',
        source: 'w1',
        severity: 'critical',
        timestamp: '2026-11-23T09:42:13.000Z',
        component: 'object-manager',
        group: '10.77.9.66',
        class: 'unexpected-peer',
        custom_details: { happened: 'opened', id: 'INC-1' },
      },
    });
    const resolved = render({ type: 'resolved', incident: sampleIncident({ state: 'resolved' }) });
    expect(resolved.event_action).toBe('resolve');
    expect(resolved.dedup_key).toBe(render().dedup_key);
  });

  it.each(['escalated', 'updated', 'repeated', 'reopened'] as const)(
    'triggers the same alert when the incident is %s',
    (type) => {
      const { event_action: action, dedup_key: key } = render({ type });
      expect([action, key]).toEqual(['trigger', render().dedup_key]);
    },
  );

  it('has another key for another story, also where numbers begin anew', () => {
    const keys = [
      render(),
      render({ incident: sampleIncident({ id: 'INC-2' }) }),
      render({ incident: sampleIncident({ fingerprint: '["scan","10.77.9.66",null]' }) }),
    ].map((event) => event.dedup_key);
    expect(new Set(keys).size).toBe(3);
  });

  it('stays within the limits, whatever the incident holds', () => {
    const long = '😀'.repeat(3000);
    const incident = sampleIncident({
      title: long,
      fingerprint: long,
      nodes: [long],
      id: 'INC-9007199254740991',
    });
    const event = render({ incident });
    expect(event.payload.summary.length).toBeLessThanOrEqual(1024);
    expect(event.payload.source.length).toBeLessThanOrEqual(255);
    expect(event.dedup_key.length).toBeLessThanOrEqual(255);
    expect(event.payload.summary).not.toMatch(/[\uD800-\uDBFF]…$/);
    expect(render({ incident: sampleIncident({ nodes: ['\u0000'] }) }).payload.source).toBe('plasmawatch');
  });
});
