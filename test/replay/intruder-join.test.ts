import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { openCaptureFile } from '../../agent/capture/file/open.ts';
import { createMembership } from '../../agent/membership/from-rules.ts';
import { Replay } from '../../agent/replay.ts';
import { parseYaml } from '../../common/config-file.ts';
import type { Anomaly } from '../../common/event.ts';
import { silentLogger } from '../../common/log.ts';
import { packagePath } from '../../common/package.ts';
import { compileRules } from '../../rules/compile.ts';
import { rulesSchema } from '../../rules/schema.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { sampleRaylet } from '../support/sample-raylet.ts';
import { waitFor } from '../support/wait-for.ts';

interface Host {
  readonly name: string;
  readonly ip: string;
  readonly nodeId: string | null;
  readonly objectManagerPort: number | null;
  readonly nodeManagerPort: number | null;
}
const truth = JSON.parse(readFileSync(packagePath('pcaps/intruder-join.truth.json'), 'utf8')) as {
  readonly hosts: readonly Host[];
  readonly actions: readonly { readonly start: number; readonly end: number; readonly unexpected?: true }[];
};
const STRANGER = '10.77.9.66';
/** When `ray start` on the stranger's host had returned, in ms since the epoch. */
const ADMITTED_MS = (truth.actions.find(({ unexpected }) => unexpected)?.end ?? 0) * 1000;
const RECORDING_MS = (truth.actions[0]?.start ?? 0) * 1000;

/** What the head's dashboard answers while these hosts are nodes of the cluster. */
function summaryOf(hosts: readonly Host[]): string {
  const summary = hosts.map(({ name, ip, nodeId, objectManagerPort, nodeManagerPort }) => ({
    raylet: {
      nodeId,
      nodeManagerAddress: ip,
      state: 'ALIVE',
      objectManagerPort,
      nodeManagerPort,
      isHeadNode: name === 'head',
    },
  }));
  return JSON.stringify({ result: true, data: { summary } });
}

/** What an agent on w1 says of the recording, which asks Ray every five seconds. */
async function watch(rules: string): Promise<Anomaly[]> {
  const { value, locate } = parseYaml(rulesSchema, rules, 'rules.yaml');
  if (value === undefined) throw new Error('the rules of this test are wrong');
  const ruleset = compileRules([{ file: 'rules.yaml', content: value, locate }]);
  const clock = new FakeClock(RECORDING_MS);
  const nodes = truth.hosts.filter(({ nodeId }) => nodeId !== null);
  let questions = 0;
  const membership = createMembership(ruleset, {
    clock,
    logger: silentLogger,
    fetch: () => {
      questions++;
      const listed = nodes.filter(({ ip }) => ip !== STRANGER || clock.now() >= ADMITTED_MS);
      return Promise.resolve(new Response(summaryOf(listed)));
    },
    resolve: () => Promise.reject(new Error('no names here')),
    lookUpRecords: () => Promise.reject(new Error('no names here')),
    findRaylets: () =>
      Promise.resolve([
        sampleRaylet({
          nodeId: nodes.find(({ name }) => name === 'w1')?.nodeId ?? '',
          objectManagerPort: 43_800,
        }),
      ]),
    localAddresses: () => ['10.77.0.11'],
    random: () => 0.5,
  });
  await membership.start();
  for (let look = 2; look <= 5; look++) {
    await waitFor(() => clock.pending === 1, 'the provider to wait');
    clock.advance(5000);
    await waitFor(() => questions === look, 'the next question to Ray');
  }
  await waitFor(() => clock.pending === 1, 'the last answer');
  const anomalies: Anomaly[] = [];
  const replay = new Replay({
    node: 'w1',
    policy: { ruleset, membership },
    maxFlows: 1024,
    onAnomaly: (anomaly) => anomalies.push(anomaly),
  });
  await replay.play(openCaptureFile(packagePath('pcaps/intruder-join.w1.pcap'), {}));
  replay.end();
  await membership.stop();
  return anomalies;
}

const ALLOW = 'allow: [{ name: nodes exchange objects, from: cluster, to: object-manager }]';

describe('a stranger who runs `ray start --address`', () => {
  it('is allowed what members are, where whoever Ray lists is one', async () => {
    expect(await watch(`version: 1\n${ALLOW}\n`)).toEqual([]);
  });

  it.each([
    ['the range of the nodes', '{ cidr: [10.77.0.0/24] }'],
    ['the addresses of the nodes', '{ hosts: [10.77.0.10, 10.77.0.11, 10.77.0.12] }'],
    [
      'the ids of the nodes',
      `{ ids: ${JSON.stringify(truth.hosts.slice(0, 3).map(({ nodeId }) => nodeId))} }`,
    ],
  ])('stays unexpected where the rules approve of %s', async (_title, approved) => {
    const anomalies = await watch(`version: 1\nmembers: approved\napproved: ${approved}\n${ALLOW}\n`);
    const listed =
      'Ray admitted it at 2026-11-23T09:49:47Z, no rule did; if it is a node of yours, ' +
      'write `approved: { hosts: [10.77.9.66] }`';
    expect(
      anomalies.map(({ kind, severity, verdict, message }) => [kind, severity, verdict?.reason, message]),
    ).toEqual([
      [
        'unexpected-peer',
        'critical',
        'not-approved',
        `Unexpected peer ${STRANGER} talks to object-manager port 43800 of 10.77.0.11 (${listed})`,
      ],
      [
        'unexpected-destination',
        'critical',
        'not-approved',
        `Member 10.77.0.11 connects to object-manager port 43800 of ${STRANGER}, which is no member (${listed})`,
      ],
    ]);
  });

  it('is a node like the others once the rules approve of it', async () => {
    const approved = '{ cidr: [10.77.0.0/24], hosts: [10.77.9.66] }';
    expect(await watch(`version: 1\nmembers: approved\napproved: ${approved}\n${ALLOW}\n`)).toEqual([]);
  });
});
