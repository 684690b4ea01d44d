import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createKubernetesProvider, type PodsSource } from '../../../agent/membership/kubernetes.ts';
import { Membership } from '../../../agent/membership/membership.ts';
import type { GroupView, Provider } from '../../../agent/membership/provider.ts';
import { Pipeline } from '../../../agent/pipeline.ts';
import { createKubernetesApi } from '../../../cli/kubernetes.ts';
import { formatAddress } from '../../../common/address.ts';
import { systemClock, type Clock } from '../../../common/clock.ts';
import type { Anomaly } from '../../../common/event.ts';
import { silentLogger } from '../../../common/log.ts';
import { Ruleset } from '../../../rules/match.ts';
import { createHastenedClock } from '../../support/hastened-clock.ts';
import { KubernetesApiServer } from '../../support/kubernetes-api.ts';
import { seededRandom } from '../../support/seeded-random.ts';
import { sendHandshake } from '../../support/tcp-traffic.ts';
import { waitFor } from '../../support/wait-for.ts';
import { sampleRule } from '../../support/sample-rule.ts';

let server: KubernetesApiServer;
let views: GroupView[];
let provider: Provider;

beforeEach(async () => {
  server = await KubernetesApiServer.open();
  views = [];
});

afterEach(async () => {
  await provider.stop();
  await server.close();
});

/** A provider of the server's pods that reads the token anew at each opening, as a pod does. */
function createProvider(source: PodsSource = {}, clock: Clock = createHastenedClock(10)): Provider {
  provider = createKubernetesProvider(source, {
    clock,
    logger: silentLogger,
    random: seededRandom(1),
    openKubernetes: () =>
      Promise.resolve(
        createKubernetesApi(server.url, 'ray', { headers: { authorization: `Bearer ${server.token}` } }),
      ),
  });
  return provider;
}

async function start(source?: PodsSource, clock?: Clock): Promise<void> {
  await createProvider(source, clock).start((view) => views.push(view));
}

/** The newest view, as `id addresses`. */
function newest(): string[] {
  return (views.at(-1)?.members ?? [])
    .map(({ id, addresses }) => `${id} ${addresses.map(formatAddress).join(' ')}`)
    .toSorted();
}

async function agrees(what: string): Promise<void> {
  await waitFor(() => newest().join() === server.truth().join(), what);
  expect(newest()).toEqual(server.truth());
}

describe('createKubernetesProvider', () => {
  it('knows the pods of KubeRay with role, group, ports and both addresses', async () => {
    server.put({
      name: 'head',
      ip: '10.1.0.1',
      ips: ['10.1.0.1', 'fd77::1'],
      labels: { 'ray.io/node-type': 'head', 'ray.io/group': 'headgroup' },
      containers: [
        {
          name: 'ray',
          command: ['/bin/bash', '-c', '--'],
          args: ['ulimit -n 65536; ray start --head --object-manager-port=8076 --port 6380 --block'],
          ports: [
            { name: 'gcs-server', containerPort: 6379 },
            { name: 'client', containerPort: 10_001 },
            { name: 'metrics', containerPort: 8080 },
          ],
        },
      ],
    });
    server.put({ name: 'notebook', ip: '10.1.0.9', labels: { 'ray.io/is-ray-node': 'no' } });
    await start();
    expect(newest()).toEqual(['ray/head 10.1.0.1 fd77::1']);
    expect(views[0]?.members[0]).toMatchObject({
      role: 'head',
      group: 'headgroup',
      sinceMs: Date.parse('2026-11-25T06:00:01Z'),
      source: 'kubernetes ray.io/is-ray-node=yes',
      ports: new Map([
        ['gcs', [6379, 6380]],
        ['client-server', [10_001]],
        ['metrics-export', [8080]],
        ['object-manager', [8076]],
      ]),
    });
    expect(server.paths[0]).toBe('/api/v1/namespaces/ray/pods');
  });

  it('asks for one cluster, or for labels, in the namespace that the rules name', async () => {
    server.put({ name: 'a', ip: '10.1.0.1' });
    server.put({ name: 'b', ip: '10.1.0.2', labels: { 'ray.io/cluster': 'b' } });
    await start({ namespace: 'team', cluster: 'b' });
    expect(newest()).toEqual(['ray/b 10.1.0.2']);
    expect(server.paths[0]).toBe('/api/v1/namespaces/team/pods');
    await provider.stop();
    await start({ labels: { 'ray.io/cluster': 'a' } });
    expect(newest()).toEqual(['ray/a 10.1.0.1']);
  });

  it('follows pods that come, get an address, end and go', async () => {
    await start();
    expect(newest()).toEqual([]);
    server.put({ name: 'w1', phase: 'Pending' });
    server.put({ name: 'w1', ip: '10.1.0.1' });
    await agrees('the new pod');
    // A completed Job's pod is listed with its address for as long as nobody deletes it.
    server.put({ name: 'w1', ip: '10.1.0.1', phase: 'Succeeded' });
    await agrees('its end');
    expect(views.at(-1)?.ended).toEqual(['ray/w1']);
    server.put({ name: 'w2', ip: '10.1.0.1' });
    await agrees('the next owner of the address');
    server.put({ name: 'w2', ip: '10.1.0.1', deletionTimestamp: '2026-11-25T07:00:00Z' });
    server.put({ name: 'w3', ip: '10.1.0.3' });
    await agrees('a pod that is being deleted and has its address still');
    server.delete('w2');
    await agrees('its deletion');
    expect(views.at(-1)?.ended).toContain('ray/w2');
  });

  it('gives an address that two pods claim to the later one, and lets pods on the host share theirs', async () => {
    server.put({ name: 'lost', ip: '10.1.0.1', deletionTimestamp: '2026-11-25T06:30:00Z' });
    server.put({ name: 'new', ip: '10.1.0.1', startTime: '2026-11-25T06:40:00Z' });
    server.put({ name: 'host-1', ip: '192.168.0.1', hostNetwork: true });
    server.put({ name: 'host-2', ip: '192.168.0.1', hostNetwork: true });
    await start();
    expect(newest()).toEqual(['ray/host-1 192.168.0.1', 'ray/host-2 192.168.0.1', 'ray/new 10.1.0.1']);
    expect(views[0]?.members.map(({ id, isShared }) => [id, isShared])).toEqual([
      ['ray/new', undefined],
      ['ray/host-1', true],
      ['ray/host-2', true],
    ]);
  });

  it('takes a watch up where it ended, and lists again only when the version was forgotten', async () => {
    server.put({ name: 'w1', ip: '10.1.0.1' });
    await start();
    await waitFor(() => server.watching === 1, 'the watch');
    server.endWatches();
    server.put({ name: 'w2', ip: '10.1.0.2' });
    await agrees('what happened meanwhile');
    server.cut();
    server.delete('w1');
    await agrees('what happened while the connection was broken');
    expect(server.requests.lists).toBe(1);
    server.cut();
    server.delete('w2');
    server.put({ name: 'w3', ip: '10.1.0.3' });
    server.forget();
    await agrees('what happened before the oldest version that is known');
    expect(server.requests.lists).toBe(2);
    expect(views.at(-1)?.ended).toContain('ray/w2');
  });

  it('goes on from a bookmark where nothing else has happened since', async () => {
    server.put({ name: 'w1', ip: '10.1.0.1' });
    await start({ cluster: 'a' });
    await waitFor(() => server.watching === 1, 'the watch');
    const before = views.length;
    server.put({ name: 'other', ip: '10.9.0.1', labels: { 'ray.io/cluster': 'b' } });
    server.bookmark();
    await waitFor(() => views.length > before, 'the view that confirms the old one');
    server.forget();
    server.cut();
    await waitFor(() => server.watching === 1, 'the next watch');
    expect(server.requests.lists).toBe(1);
  });

  it('reads rotated credentials again, and keeps the pods while they are refused', async () => {
    server.put({ name: 'w1', ip: '10.1.0.1' });
    await start();
    await waitFor(() => server.watching === 1, 'the watch');
    for (let count = 0; count < 3; count++) server.failures.push({ status: 401 });
    server.token = 'second';
    server.cut();
    expect(newest()).toEqual(['ray/w1 10.1.0.1']);
    server.put({ name: 'w2', ip: '10.1.0.2' });
    await agrees('the pods by the new token');
    expect(server.requests).toMatchObject({ lists: 1, refused: 3 });
  });

  it('tells that it cannot look while the server is away, and publishes nothing', async () => {
    server.put({ name: 'w1', ip: '10.1.0.1' });
    await start();
    await waitFor(async () => (await provider.refresh?.()) === 'answered', 'the watch');
    const asOfMs = views.at(-1)?.asOfMs ?? 0;
    server.isSilent = true;
    server.cut();
    await waitFor(async () => (await provider.refresh?.()) === 'failed', 'the end of the watch');
    await waitFor(() => views.length > 3, 'views that are told again');
    expect(newest()).toEqual(['ray/w1 10.1.0.1']);
    expect(views.at(-1)?.asOfMs).toBeLessThan(asOfMs + 2000);
  });

  it('leaves a server that fails in peace: attempts grow rarer, and Retry-After is kept', async () => {
    for (let count = 0; count < 6; count++) server.failures.push({ status: 500 });
    server.failures.push({ status: 429, retryAfter: 2 });
    server.put({ name: 'w1', ip: '10.1.0.1' });
    await start();
    await agrees('the pods');
    expect(server.requests).toMatchObject({ refused: 7, lists: 1 });
  });

  it('misses no pod and keeps none of 5,000 that change a hundred times a second, whatever breaks', async () => {
    const random = seededRandom(7);
    for (let count = 0; count < 5000; count++) server.put({ name: `pod-${count}`, ip: address(count) });
    await start();
    expect(newest()).toEqual(server.truth());
    expect(server.requests).toMatchObject({ lists: 1, pages: 20 });
    let created = 5000;
    for (let second = 0; second < 12; second++) {
      for (let tenth = 0; tenth < 10; tenth++) {
        for (let count = 0; count < 10; count++) change();
        await new Promise((resolve) => systemClock.after(20, () => resolve(undefined)));
      }
      if (second % 3 === 0) server.cut();
      if (second % 3 === 1) server.endWatches();
      if (second === 6) server.forget();
      if (second === 7) server.failures.push({ status: 503 }, { status: 401 }, { status: 410 });
      await agrees(`the pods at checkpoint ${second}`);
    }
    expect(server.requests.lists).toBeLessThanOrEqual(4);
    expect(server.requests.watches).toBeLessThanOrEqual(16);

    function change(): void {
      const names = server.names();
      const name = names[Math.floor(random() * names.length)] ?? '';
      const kind = random();
      // New pods often get the address that an old one has just lost.
      if (kind < 0.4) server.put({ name: `pod-${created++}`, ip: address(created) });
      else if (kind < 0.7) server.delete(name);
      else if (kind < 0.8) server.put({ name, phase: 'Failed', ip: address(created) });
      else server.put({ name, ip: address(++created) });
    }
  }, 60_000);

  it('decides verdicts: a connection of a pod is allowed from the event of its address on', async () => {
    const membership = new Membership({
      providers: new Map([['cluster', [createProvider({}, systemClock)]]]),
      clock: systemClock,
    });
    server.put({ name: 'w1', ip: '10.1.0.1' });
    await membership.start();
    const anomalies: Anomaly[] = [];
    let ids = 0;
    const pipeline = new Pipeline({
      node: 'w1',
      policy: { ruleset: nodesExchangeObjects(), membership },
      maxFlows: 1024,
      countOnOneInterface: true,
      createId: () => `anomaly-${++ids}`,
      interfaceName: () => undefined,
      reportAnomaly: (anomaly) => anomalies.push(anomaly),
      reportFlow: () => {},
      reportEvidence: () => {},
      wantPackets: () => {},
    });
    let changes = 0;
    membership.onChange(() => {
      changes++;
      pipeline.membershipChanged();
    });
    await waitFor(() => server.watching === 1, 'the watch');
    server.put({ name: 'w2', ip: '10.1.0.2' });
    await waitFor(() => changes > 0, 'the event in the membership');
    const time = systemClock.now() / 1000;
    sendHandshake(pipeline, { from: '10.1.0.2:5000', to: '10.1.0.1:43800', time });
    expect(anomalies).toEqual([]);
    sendHandshake(pipeline, { from: '10.1.0.3:5000', to: '10.1.0.1:43800', time });
    // Where strangers may still turn out to be members, they are told of after a while.
    pipeline.tick(systemClock.now() + 60_000);
    expect(anomalies.map(({ flow }) => flow?.source.ip)).toEqual(['10.1.0.3']);
  });
});

function address(count: number): string {
  return `10.${(count >> 16) & 255}.${(count >> 8) & 255}.${count & 255}`;
}

function nodesExchangeObjects(): Ruleset {
  return new Ruleset({
    rules: [sampleRule()],
    services: new Map([['object-manager', 'auto']]),
    groups: new Map([['cluster', { kubernetes: {} }]]),
  });
}
