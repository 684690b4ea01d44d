import { describe, expect, it } from 'vitest';
import { collectorConfigSchema, type CollectorConfig } from '../../collector/config.ts';
import { LiveSettings } from '../../collector/live-settings.ts';
import type { CollectorSecrets } from '../../collector/secrets.ts';
import { systemClock } from '../../common/clock.ts';
import { sampleIncident } from '../support/collector-parts.ts';

const URL_A = 'http://127.0.0.1:1/a';
const slack = (name: string) => ({ name, type: 'slack', url: URL_A, minimumSeverity: 'info' });
const parse = (settings: object): CollectorConfig => collectorConfigSchema.parse(settings);
const secretsOf = (
  urls: Readonly<Record<string, string>>,
  more: Partial<CollectorSecrets> = {},
): CollectorSecrets => ({
  receivers: new Map(Object.entries(urls).map(([name, url]) => [name, { url }])),
  ...more,
});
const open = (config: CollectorConfig, secrets: CollectorSecrets): LiveSettings =>
  new LiveSettings(config, secrets, { fetch: globalThis.fetch, clock: systemClock });

const two = parse({ receivers: [slack('a'), slack('b')] });
const incident = sampleIncident();

describe('the settings of a running collector', () => {
  it('keep the notifier of a receiver that did not change, and make those of the others', () => {
    const live = open(two, secretsOf({ a: URL_A, b: URL_A }));
    const before = new Map(live.notifiers);
    live.replace(
      parse({ receivers: [slack('a'), slack('b'), slack('c')] }),
      secretsOf({ a: URL_A, b: `${URL_A}b`, c: URL_A }),
    );
    expect([...live.notifiers.keys()]).toEqual(['a', 'b', 'c']);
    expect(live.notifiers.get('a')).toBe(before.get('a'));
    expect(live.notifiers.get('b')).not.toBe(before.get('b'));
  });

  it('route by the new routes, mute by the new times, and take the new intervals and names', () => {
    const live = open(two, secretsOf({ a: URL_A, b: URL_A }));
    expect(live.receiversOf(incident)).toEqual(['a', 'b']);
    expect(live.mutedByTime(incident, 0)).toBeUndefined();
    live.replace(
      parse({
        receivers: [slack('a'), slack('b')],
        routes: [{ receivers: ['b'] }],
        muteTimes: [
          {
            name: 'always',
            hours: 'mon-sun 00:00-24:00',
            match: { severity: ['info', 'warning', 'critical'] },
          },
        ],
        incidents: { groupWait: '3s', messagesPerHour: 7 },
        listen: { allowedHosts: ['collector.example.com'] },
      }),
      secretsOf({ a: URL_A, b: URL_A }),
    );
    expect(live.receiversOf(incident)).toEqual(['b']);
    expect(live.mutedByTime(incident, 0)).toBe('mute time always');
    expect(live.timing.groupWaitMs).toBe(3000);
    expect(live.config.incidents.messagesPerHour).toBe(7);
    expect(live.config.listen.allowedHosts).toEqual(['collector.example.com']);
  });

  it.each([
    [
      'it would be open to the network',
      parse({ listen: { host: '0.0.0.0' } }),
      secretsOf({}),
      'without an agent token',
    ],
    ['a receiver has no secret', parse({ receivers: [slack('c')] }), secretsOf({}), 'receiver c'],
    [
      'the certificate is broken',
      two,
      secretsOf({ a: URL_A, b: URL_A }, { tls: { cert: 'x', key: 'x' } }),
      'cannot use the TLS certificate',
    ],
  ])('stay as they are when %s', (_what, config, secrets, message) => {
    const live = open(two, secretsOf({ a: URL_A, b: URL_A }));
    const before = live.notifiers;
    expect(() => live.replace(config, secrets)).toThrow(message);
    expect([live.config, live.notifiers]).toEqual([two, before]);
  });
});
