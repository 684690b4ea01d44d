/** Against a real Alertmanager, which the test starts on free ports and ends by its process id. */
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../../common/clock.ts';
import { createAlertmanagerNotifier } from '../../../collector/notify/alertmanager.ts';
import { Dispatcher } from '../../../collector/notify/dispatcher.ts';
import type { Incident } from '../../../collector/store/store.ts';
import { openParts, sampleIncident, sampleNotification, TEST_EPOCH } from '../../support/collector-parts.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { freePort } from '../../support/free-port.ts';
import { HttpReceiver } from '../../support/http-receiver.ts';
import { sampleAnomaly } from '../../support/sample-report.ts';
import { ServerProcess } from '../../support/server-process.ts';

const ALERTMANAGER = '/usr/bin/prometheus-alertmanager';
const signal = new AbortController().signal;

interface Alert {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly startsAt: string;
  readonly endsAt: string;
  readonly generatorURL: string;
  readonly status: { readonly state: string };
}

describe.skipIf(!existsSync(ALERTMANAGER))(`with Alertmanager (needs ${ALERTMANAGER})`, () => {
  let folder: string;
  let server: ServerProcess | undefined;
  let pager: HttpReceiver;
  let url: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-alertmanager-'));
    pager = await HttpReceiver.open();
    url = `http://127.0.0.1:${await freePort()}`;
    await writeFile(
      join(folder, 'alertmanager.yml'),
      `route: { receiver: pager, group_by: [incident], group_wait: 50ms, group_interval: 100ms }
receivers:
  - name: pager
    webhook_configs: [{ url: "${pager.url('/page')}", send_resolved: true }]
`,
    );
    server = await ServerProcess.start(
      ALERTMANAGER,
      [
        `--config.file=${join(folder, 'alertmanager.yml')}`,
        `--storage.path=${join(folder, 'data')}`,
        `--web.listen-address=${url.slice('http://'.length)}`,
        '--cluster.listen-address=',
      ],
      { cwd: folder, isReady: ServerProcess.answers(`${url}/-/ready`) },
    );
  });
  afterAll(async () => {
    await server?.stop();
    await pager.close();
    await rm(folder, { recursive: true, force: true });
  });

  const alertsOf = async (id: string): Promise<Alert[]> => {
    const filter = encodeURIComponent(`incident="${id}"`);
    return (await (await fetch(`${url}/api/v2/alerts?filter=${filter}`)).json()) as Alert[];
  };
  const pagesOf = (id: string): { status: string; severity: string | undefined }[] =>
    pager.requests
      .map(
        ({ body }) =>
          JSON.parse(body) as {
            status: string;
            alerts: { status: string; labels: Record<string, string> }[];
          },
      )
      .flatMap(({ alerts }) => alerts)
      .filter(({ labels }) => labels['incident'] === id)
      .map(({ status, labels }) => ({ status, severity: labels['severity'] }));

  const incident = (id: string, changes: Partial<Incident> = {}): Incident => {
    const nowMs = systemClock.now();
    return sampleIncident({ id, openedMs: nowMs - 1000, lastReportMs: nowMs, ...changes });
  };

  it('shows the alert, and tells its own receivers of it and of its end', async () => {
    const notifier = createAlertmanagerNotifier({
      url: `${url}/`,
      fetch,
      clock: systemClock,
      externalUrl: 'https://watch.example.com/',
    });
    const opened = incident('INC-31');
    expect(await notifier.send(sampleNotification({ incident: opened }), signal)).toEqual({
      outcome: 'delivered',
    });
    await vi.waitFor(async () => expect(await alertsOf('INC-31')).toHaveLength(1), { timeout: 20_000 });
    expect((await alertsOf('INC-31'))[0]).toMatchObject({
      labels: {
        alertname: 'PlasmawatchIncident',
        severity: 'critical',
        kind: 'unexpected-peer',
        peer: '10.77.9.66',
        service: 'object-manager',
      },
      annotations: {
        summary: 'New: Unexpected peer 10.77.9.66 talks to the object manager on w1',
        description: expect.stringContaining('Connections: 3 (4.1 KiB)'),
        nodes: 'w1',
      },
      startsAt: new Date(opened.openedMs).toISOString(),
      generatorURL: 'https://watch.example.com/api/incidents/INC-31',
      status: { state: 'active' },
    });
    await vi.waitFor(
      () => expect(pagesOf('INC-31')).toContainEqual({ status: 'firing', severity: 'critical' }),
      {
        timeout: 20_000,
      },
    );
    const resolved: Incident = { ...opened, state: 'resolved', resolvedMs: systemClock.now() };
    await notifier.send(sampleNotification({ type: 'resolved', incident: resolved }), signal);
    await vi.waitFor(
      async () => {
        expect(await alertsOf('INC-31')).toEqual([]);
        expect(pagesOf('INC-31').at(-1)).toEqual({ status: 'resolved', severity: 'critical' });
      },
      { timeout: 20_000 },
    );
  });

  it('fires again when an incident opens again', async () => {
    const notifier = createAlertmanagerNotifier({ url, fetch, clock: systemClock });
    const opened = incident('INC-33');
    const resolved: Incident = { ...opened, state: 'resolved', resolvedMs: systemClock.now() };
    await notifier.send(sampleNotification({ incident: opened }), signal);
    await notifier.send(sampleNotification({ type: 'resolved', incident: resolved }), signal);
    await vi.waitFor(async () => expect(await alertsOf('INC-33')).toEqual([]), { timeout: 20_000 });
    const again: Incident = { ...opened, reopenedMs: systemClock.now(), reopenCount: 1 };
    await notifier.send(sampleNotification({ type: 'reopened', incident: again }), signal);
    await vi.waitFor(async () => expect(await alertsOf('INC-33')).toHaveLength(1), { timeout: 20_000 });
  });

  it('has one alert of an incident that became worse', async () => {
    const notifier = createAlertmanagerNotifier({ url, fetch, clock: systemClock });
    const opened = incident('INC-32', { severity: 'warning' });
    await notifier.send(sampleNotification({ incident: opened }), signal);
    await vi.waitFor(async () => expect(await alertsOf('INC-32')).toHaveLength(1), { timeout: 20_000 });
    const worse: Incident = { ...opened, severity: 'critical' };
    await notifier.send(sampleNotification({ type: 'escalated', incident: worse }), signal);
    await vi.waitFor(
      async () => {
        const severities = (await alertsOf('INC-32')).map(({ labels }) => labels['severity']);
        expect(severities).toEqual(['critical']);
      },
      { timeout: 20_000 },
    );
  });

  it('is reminded of what is not resolved, and of nothing else', async () => {
    const clock = new FakeClock(systemClock.now());
    const notifier = createAlertmanagerNotifier({ url, fetch, clock });
    const audiences = [{ name: 'am', minimumSeverity: 'info' as const }];
    const parts = await openParts({ audiences, quietMs: 600_000 });
    const dispatcher = new Dispatcher({
      ...parts,
      notifiers: new Map([['am', notifier]]),
      random: () => 0.5,
      giveUpMs: 86_400_000,
    });
    try {
      dispatcher.start();
      parts.recorder.record('w1', TEST_EPOCH, [{ sequence: 1, report: sampleAnomaly(1) }]);
      dispatcher.wake();
      await vi.waitFor(async () => expect(await alertsOf('INC-1')).toHaveLength(1), { timeout: 20_000 });
      const endOf = async (): Promise<number> => Date.parse((await alertsOf('INC-1'))[0]?.endsAt ?? '');
      const end = await endOf();
      for (let minutes = 1; minutes <= 3; minutes++) {
        clock.advance(60_000);
        parts.clock.advance(60_000);
        await vi.waitFor(async () => expect(await endOf()).toBe(end + minutes * 60_000), { timeout: 20_000 });
        await vi.waitFor(async () =>
          expect((await parts.metrics.notificationReminders.get()).values).toEqual([
            expect.objectContaining({ labels: { receiver: 'am', result: 'delivered' }, value: minutes }),
          ]),
        );
      }
    } finally {
      await dispatcher.stop();
    }
    expect(parts.clock.pending).toBe(0);
  });
});

describe('Alertmanager, whose clock is a little behind ours,', () => {
  it.each([10_000, 61_000, 300_000])('by %i ms, takes what is resolved for over', async (byMs) => {
    const clock = new FakeClock();
    let ends = '';
    const notifier = createAlertmanagerNotifier({
      url: 'http://alerts.example',
      clock,
      fetch: (_url, request) => {
        const [alert] = JSON.parse(typeof request?.body === 'string' ? request.body : '[]') as {
          endsAt: string;
        }[];
        ends = alert?.endsAt ?? '';
        const date = new Date(clock.now() - byMs).toUTCString();
        return Promise.resolve(new Response('', { headers: { date } }));
      },
    });
    const signal = AbortSignal.timeout(10_000);
    const incident = sampleIncident({ openedMs: clock.now() });
    await notifier.send(sampleNotification({ incident }), signal);
    clock.advance(1000);
    const resolved = { ...incident, state: 'resolved' as const, resolvedMs: clock.now() };
    await notifier.send(sampleNotification({ type: 'resolved', incident: resolved }), signal);
    expect(Date.parse(ends)).toBeLessThanOrEqual(clock.now() - byMs);
  });
});
