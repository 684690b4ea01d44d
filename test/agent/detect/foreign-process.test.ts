/** Whose connections are, through the pipeline, with a finder that the test answers for. */
import { beforeEach, describe, expect, it } from 'vitest';
import type { FoundProcess, ProcessFinder } from '../../../agent/detect/attribution.ts';
import { Membership } from '../../../agent/membership/membership.ts';
import { Pipeline } from '../../../agent/pipeline.ts';
import { formatAddress, parseAddress } from '../../../common/address.ts';
import { anomalySchema, flowReportSchema, type Anomaly, type FlowReport } from '../../../common/event.ts';
import { Ruleset } from '../../../rules/match.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { FakeProvider, membersView } from '../../support/fake-provider.ts';
import { sampleRule } from '../../support/sample-rule.ts';
import { sendConnection, sendHandshake, sendPacket } from '../../support/tcp-traffic.ts';

const NODE = '10.0.0.1';
const MEMBER = '10.0.0.2:43800';
const STRANGER = '192.0.2.9';
const START = Date.UTC(2026, 10, 23, 12) / 1000;
const NC: FoundProcess = {
  isRaylet: false,
  description: {
    process: { pid: 812, name: 'nc', executable: '/usr/bin/nc', command_line: 'nc 10.0.0.2 43800' },
    user: { id: '1001', name: 'eve' },
  },
};
const RAYLET: FoundProcess = {
  isRaylet: true,
  description: { process: { pid: 61, name: 'raylet' }, user: { id: '1000', name: 'ray' } },
};

/** Answers when the test says so. */
class FakeFinder implements ProcessFinder {
  readonly asked: { readonly ends: string; readonly answer: (found: FoundProcess | undefined) => void }[] =
    [];

  isLocal(address: Parameters<ProcessFinder['isLocal']>[0]): boolean {
    return formatAddress(address) === NODE;
  }

  find(ends: Parameters<ProcessFinder['find']>[0]): Promise<FoundProcess | undefined> {
    return new Promise((resolve) => {
      const text = `${formatAddress(ends.local)}:${ends.localPort} ${formatAddress(ends.remote)}:${ends.remotePort}`;
      this.asked.push({ ends: text, answer: resolve });
    });
  }
}

describe("the processes at this node's ends of connections", () => {
  let anomalies: Anomaly[];
  let flows: FlowReport[];
  let finder: FakeFinder;
  let provider: FakeProvider;
  let pipeline: Pipeline;
  let flushes: number;

  beforeEach(async () => {
    anomalies = [];
    flows = [];
    flushes = 0;
    finder = new FakeFinder();
    provider = new FakeProvider(membersView(`${NODE}:43800`, MEMBER));
    const membership = new Membership({
      providers: new Map([['cluster', [provider]]]),
      clock: new FakeClock(START * 1000),
    });
    await membership.start();
    const ruleset = new Ruleset({
      rules: [sampleRule()],
      services: new Map([['object-manager', 'auto']]),
      groups: new Map(),
    });
    let ids = 0;
    pipeline = new Pipeline({
      node: 'w1',
      policy: { ruleset, membership },
      maxFlows: 1024,
      countOnOneInterface: true,
      createId: () => `anomaly-${++ids}`,
      interfaceName: () => undefined,
      processes: finder,
      reportedLater: () => flushes++,
      reportAnomaly: (anomaly) => anomalies.push(anomalySchema.parse(anomaly)),
      reportFlow: (report) => flows.push(flowReportSchema.parse(report)),
      reportEvidence: () => {},
      wantPackets: () => {},
    });
  });

  async function answer(...found: readonly (FoundProcess | undefined)[]): Promise<void> {
    for (const [index, each] of found.entries()) finder.asked[index]?.answer(each);
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }

  function kinds(): (string | number | undefined)[][] {
    return anomalies.map(({ kind, count, process }) => [kind, count, process?.pid]);
  }

  it('make a program that is no raylet an anomaly of its own, though the rules allow the node', async () => {
    sendHandshake(pipeline, { from: `${NODE}:5000`, to: MEMBER, time: START });
    expect(finder.asked.map(({ ends }) => ends)).toEqual([`${NODE}:5000 ${MEMBER}`]);
    expect(anomalies).toEqual([]);
    await answer(NC);
    expect(anomalies).toHaveLength(1);
    expect(anomalies[0]).toMatchObject({
      kind: 'foreign-process',
      severity: 'critical',
      verdict: { allowed: true, rule: 'nodes exchange objects' },
      flow: { source: { ip: NODE, port: 5000 }, destination: { ip: '10.0.0.2', port: 43_800 } },
      process: { pid: 812, executable: '/usr/bin/nc' },
      user: { id: '1001', name: 'eve' },
      message:
        'A program that is no raylet talks to object-manager port 43800 of 10.0.0.2: process 812 of user eve (nc 10.0.0.2 43800)',
    });
    expect(flushes).toBe(1);
  });

  it('say what to do where the program may be a raylet of ours that nothing proves', async () => {
    sendHandshake(pipeline, { from: `${NODE}:5000`, to: MEMBER, time: START });
    const executable = '/home/ray/venv/lib/python3.11/site-packages/ray/core/src/ray/raylet/raylet';
    const { description } = NC;
    await answer({
      ...NC,
      description: { ...description, process: { pid: 812, name: 'raylet', executable } },
    });
    expect(anomalies[0]?.message).toMatch(/if it is yours, name its user in the settings \(`ray\.user`\)$/);
  });

  it('are a warning where the program was not answered, and critical once it is', async () => {
    sendPacket(pipeline, { from: `${NODE}:5000`, to: MEMBER, flags: 'syn', time: START });
    pipeline.tick((START + 12) * 1000);
    await answer(NC);
    expect(anomalies.map(({ kind, severity }) => [kind, severity])).toEqual([['foreign-process', 'warning']]);
    expect(anomalies[0]?.message).toMatch(/^A program that is no raylet tried to connect to object-manager /);
    sendHandshake(pipeline, { from: `${NODE}:5001`, to: MEMBER, time: START + 13 });
    await answer(undefined, NC);
    expect(anomalies.at(-1)).toMatchObject({ kind: 'foreign-process', severity: 'critical' });
  });

  it('say nothing of the raylet, and nothing where it cannot be told', async () => {
    sendHandshake(pipeline, { from: `${NODE}:5000`, to: MEMBER, time: START });
    sendHandshake(pipeline, { from: `${NODE}:5001`, to: MEMBER, time: START });
    sendHandshake(pipeline, { from: `${NODE}:5002`, to: MEMBER, time: START });
    await answer(RAYLET, undefined, { ...NC, isRaylet: undefined });
    pipeline.end(START * 1000);
    expect(anomalies).toEqual([]);
  });

  it("say nothing of Ray's workers and drivers where an object manager is only supposed", async () => {
    const elsewhere = `${STRANGER}:50000`;
    const [address, port] = [parseAddress(STRANGER), 50_000];
    if (address === undefined) throw new Error('no address');
    pipeline.observeRayletConnection(address, port, START * 1000);
    const driver: FoundProcess = { ...NC, isOfRay: true };
    for (const [index, found] of [driver, NC].entries()) {
      sendHandshake(pipeline, { from: `${NODE}:${5000 + index}`, to: elsewhere, time: START });
      await answer(...Array.from({ length: index }, () => undefined), found);
      const kinds = new Set(anomalies.map(({ kind }) => kind));
      expect(kinds.has('unexpected-destination')).toBe(true);
      expect(kinds.has('foreign-process')).toBe(found === NC);
    }
  });

  it("are reported where Ray's own talk to the object manager of a node, which they never do", async () => {
    sendHandshake(pipeline, { from: `${NODE}:5000`, to: MEMBER, time: START });
    await answer({ ...NC, isOfRay: true });
    expect(anomalies.map(({ kind }) => kind)).toEqual(['foreign-process']);
  });

  it('are not asked for where another node opened a connection that is allowed', () => {
    sendHandshake(pipeline, { from: MEMBER, to: `${NODE}:43800`, time: START });
    sendHandshake(pipeline, { from: '10.0.0.2:5000', to: `${NODE}:43800`, time: START });
    expect(finder.asked).toEqual([]);
  });

  it('are in the report of a connection that ends later', async () => {
    sendHandshake(pipeline, { from: `${NODE}:5000`, to: MEMBER, time: START });
    await answer(RAYLET);
    pipeline.end(START * 1000);
    expect(flows.map(({ process, user }) => [process?.pid, user?.name])).toEqual([[61, 'ray']]);
  });

  it('are told though the connection has ended meanwhile, with all that it carried', async () => {
    sendConnection(pipeline, { from: `${NODE}:5000`, to: MEMBER, time: START, payloadLength: 100 });
    pipeline.tick((START + 600) * 1000);
    await answer(NC);
    pipeline.tick((START + 1200) * 1000);
    expect(kinds()).toEqual([
      ['foreign-process', 1, 812],
      ['foreign-process', 1, 812],
    ]);
    expect(anomalies.map(({ bytes }) => bytes)).toEqual([340, 340]);
  });

  it('are one story for a program that is started again and again, and another for another user', async () => {
    for (let port = 5000; port < 5004; port++) {
      sendHandshake(pipeline, { from: `${NODE}:${port}`, to: MEMBER, time: START });
    }
    const again = { ...NC, description: { ...NC.description, process: { ...process(NC), pid: 813 } } };
    const root = { ...NC, description: { ...NC.description, user: { id: '0', name: 'root' } } };
    await answer(NC, again, again, root);
    pipeline.end(START * 1000);
    const last = new Map(anomalies.map(({ id, count, user }) => [id, [count, user?.name]]));
    expect([...last.values()]).toEqual([
      [3, 'eve'],
      [1, 'root'],
    ]);
  });

  it('are told of an unexpected peer in a second report of the story, by the first connection that could be looked at', async () => {
    sendHandshake(pipeline, { from: `${STRANGER}:5000`, to: `${NODE}:43800`, time: START });
    sendHandshake(pipeline, { from: `${STRANGER}:5001`, to: `${NODE}:43800`, time: START });
    await answer(undefined, RAYLET);
    expect(kinds()).toEqual([
      ['unexpected-peer', 1, undefined],
      ['unexpected-peer', 2, 61],
    ]);
    expect(anomalies[1]?.message).toMatch(/; here it is the raylet$/);
    sendHandshake(pipeline, { from: `${STRANGER}:5002`, to: `${NODE}:43800`, time: START });
    expect(finder.asked).toHaveLength(2);
  });

  it('are named in two words where it is the raylet, and with the end that is of this node', async () => {
    const long = { ...process(RAYLET), command_line: `/opt/ray/raylet ${'--an_option=1 '.repeat(30)}` };
    sendHandshake(pipeline, { from: `${STRANGER}:5000`, to: `${NODE}:43800`, time: START });
    await answer({ ...RAYLET, description: { ...RAYLET.description, process: long } });
    expect(anomalies[1]?.message).toMatch(/; here it is the raylet$/);
    expect(anomalies[1]?.process?.command_line).toBe(long.command_line);
    sendHandshake(pipeline, { from: `${NODE}:5000`, to: `${STRANGER}:43800`, time: START });
    expect(anomalies.map(({ localEnd }) => localEnd)).toEqual(['destination', 'destination', 'source']);
  });

  it('are asked for once more, a tick later, where the connection was too young to have one', async () => {
    sendHandshake(pipeline, { from: `${STRANGER}:5000`, to: `${NODE}:43800`, time: START });
    await answer(undefined);
    pipeline.tick((START + 1) * 1000);
    await answer(undefined, RAYLET);
    pipeline.tick((START + 2) * 1000);
    expect(finder.asked).toHaveLength(2);
    expect(kinds()).toEqual([
      ['unexpected-peer', 1, undefined],
      ['unexpected-peer', 1, 61],
    ]);
  });

  it('are not asked for once more where the connection has ended', async () => {
    sendConnection(pipeline, { from: `${STRANGER}:5000`, to: `${NODE}:43800`, time: START });
    await answer(undefined);
    pipeline.tick((START + 600) * 1000);
    pipeline.tick((START + 601) * 1000);
    expect(finder.asked).toHaveLength(1);
  });

  it('are both an unexpected destination and a foreign process where a program pushes to a stranger', async () => {
    sendHandshake(pipeline, { from: `${NODE}:5000`, to: `${STRANGER}:43800`, time: START });
    await answer(NC);
    expect(kinds()).toEqual([
      ['unexpected-destination', 1, undefined],
      ['unexpected-destination', 1, 812],
      ['foreign-process', 1, 812],
    ]);
  });

  it('are not asked for again when rules or members change', async () => {
    sendHandshake(pipeline, { from: `${NODE}:5000`, to: MEMBER, time: START });
    await answer(NC);
    pipeline.membershipChanged();
    expect(finder.asked).toHaveLength(1);
    expect(kinds()).toEqual([['foreign-process', 1, 812]]);
  });

  it('are told to nobody after the end', async () => {
    sendHandshake(pipeline, { from: `${NODE}:5000`, to: MEMBER, time: START });
    pipeline.end(START * 1000);
    await answer(NC);
    expect(anomalies).toEqual([]);
  });
});

function process({ description }: FoundProcess): NonNullable<FoundProcess['description']['process']> {
  return description.process ?? { pid: 0, name: '' };
}
