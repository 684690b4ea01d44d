import { describe, expect, it } from 'vitest';
import type { Anomaly } from '../../common/event.ts';
import { RecordedCluster } from '../support/recorded-cluster.ts';

const RULES = 'version: 1\nallow: [{ name: nodes exchange objects, from: cluster, to: object-manager }]\n';

/** Who did what, in the words of the truth files. */
function told(anomalies: readonly Anomaly[]): string[] {
  return anomalies
    .map(({ kind, peer, flow, count }) =>
      flow === null
        ? `${kind} ${peer}`
        : `${kind} ${flow.source.ip} > ${flow.destination.ip}:${flow.destination.port} ${count}`,
    )
    .toSorted();
}

/** The ways that the truth file calls unexpected. */
function unexpectedIn({ truth }: RecordedCluster, file: string): string[] {
  const flows = truth.recordings.find((recording) => recording.file === file)?.flows ?? [];
  return flows
    .filter(({ verdict }) => verdict !== 'expected')
    .map(
      ({ verdict, client, server, port, connections }) =>
        `${verdict} ${client} > ${server}:${port} ${connections}`,
    )
    .toSorted();
}

describe('a recorded cluster that is watched without configuration', () => {
  it.each([
    ['normal', 'w1'],
    ['random-ports', 'w1'],
    ['ipv6', 'w1'],
    ['node-death', 'head'],
  ])('%s raises nothing at %s', async (scenario, recording) => {
    expect(await new RecordedCluster(scenario).watch(recording, RULES)).toEqual([]);
  });

  // At w1 the new node talks before the next look at the dashboard is due.
  it.each(['head', 'w1'])(
    'join-leave tells at %s of the new member, and of nothing else',
    async (recording) => {
      const cluster = new RecordedCluster('join-leave');
      expect(told(await cluster.watch(recording, RULES))).toEqual(['new-member 10.77.0.13']);
    },
  );

  it.each([
    ['intruder-grpc', 'w1'],
    ['leak', 'w1'],
    ['scan', 'w1'],
    ['tls-intruder', 'w1'],
  ])('%s tells at %s of what its truth file calls unexpected', async (scenario, recording) => {
    const cluster = new RecordedCluster(scenario);
    const expected = unexpectedIn(cluster, `${scenario}.${recording}.pcap`);
    expect(expected).not.toEqual([]);
    expect(told(await cluster.watch(recording, RULES))).toEqual(expected);
  });
});

describe('a stranger who runs `ray start --address`', () => {
  const cluster = new RecordedCluster('intruder-join');
  const nodes = cluster.truth.hosts.filter(({ name }) => ['head', 'w1', 'w2'].includes(name));

  it('is a new member where whoever Ray lists is one', async () => {
    expect(told(await cluster.watch('w1', RULES))).toEqual(['new-member 10.77.9.66']);
  });

  it.each([
    ['the range of the nodes', '{ cidr: [10.77.0.0/24] }'],
    ['the addresses of the nodes', `{ hosts: [${nodes.map(({ ip }) => ip).join(', ')}] }`],
    ['the ids of the nodes', `{ ids: [${nodes.map(({ nodeId }) => nodeId ?? '').join(', ')}] }`],
  ])('stays unexpected where the rules approve of %s', async (_title, approved) => {
    const anomalies = await cluster.watch('w1', `${RULES}members: approved\napproved: ${approved}\n`);
    expect(told(anomalies)).toEqual([
      'new-member 10.77.9.66',
      ...unexpectedIn(cluster, 'intruder-join.w1.pcap'),
    ]);
    const reasons = anomalies.flatMap(({ verdict }) => (verdict === null ? [] : [verdict.reason]));
    expect(reasons).toEqual(['not-approved', 'not-approved']);
    for (const { message } of anomalies.filter(({ verdict }) => verdict !== null)) {
      expect(message).toMatch(
        /\(Ray admitted it at 2026-11-23T09:49:4\dZ, no rule did; if it is a node of yours, write `approved: \{ hosts: \[10\.77\.9\.66\] \}`\)$/,
      );
    }
  });

  it('is a node like the others once the rules approve of it', async () => {
    const approved = '{ cidr: [10.77.0.0/24], hosts: [10.77.9.66] }';
    const anomalies = await cluster.watch('w1', `${RULES}members: approved\napproved: ${approved}\n`);
    expect(told(anomalies)).toEqual(['new-member 10.77.9.66']);
  });
});
