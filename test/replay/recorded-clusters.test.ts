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

  it('join-leave tells of the new member, and of nothing else', async () => {
    const cluster = new RecordedCluster('join-leave');
    expect(told(await cluster.watch('head', RULES))).toEqual(['new-member 10.77.0.13']);
  });

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
  it('is a new member where whoever Ray lists is one', async () => {
    const cluster = new RecordedCluster('intruder-join');
    expect(told(await cluster.watch('w1', RULES))).toEqual(['new-member 10.77.9.66']);
  });
});
