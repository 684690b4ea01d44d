import { beforeEach, describe, expect, it } from 'vitest';
import { LINKTYPE_IPV4 } from '../../agent/decode/link-type.ts';
import { FlowCounts } from '../../agent/capture/source.ts';
import { Membership } from '../../agent/membership/membership.ts';
import { Pipeline } from '../../agent/pipeline.ts';
import { parseAddress, type Address } from '../../common/address.ts';
import type { Anomaly, FlowReport } from '../../common/event.ts';
import { Ruleset, type Rule } from '../../rules/match.ts';
import type { ServicePorts } from '../../rules/schema.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { FakeProvider, membersView } from '../support/fake-provider.ts';
import { frameOf, IPV4_PACKET } from '../support/packet-bytes.ts';
import { sendConnection, sendHandshake, sendPacket } from '../support/tcp-traffic.ts';
import { sampleRule } from '../support/sample-rule.ts';

const MEMBERS = ['10.0.0.1', '10.0.0.2'];
const NODE = '10.0.0.1:43800';
const START = Date.UTC(2026, 10, 23, 12) / 1000;

describe('Pipeline', () => {
  let anomalies: (Anomaly & { phase: string })[];
  let flows: FlowReport[];
  let provider: FakeProvider;
  let membership: Membership;
  let pipeline: Pipeline;

  beforeEach(async () => {
    anomalies = [];
    flows = [];
    provider = new FakeProvider(membersView(...MEMBERS));
    membership = new Membership({
      providers: new Map([['cluster', [provider]]]),
      clock: new FakeClock(START * 1000),
    });
    await membership.start();
    let ids = 0;
    pipeline = new Pipeline({
      node: 'w1',
      policy: { ruleset: nodesExchangeObjects(), membership },
      maxFlows: 1024,
      countOnOneInterface: true,
      createId: () => `anomaly-${++ids}`,
      interfaceName: () => undefined,
      reportAnomaly: (anomaly, phase) => anomalies.push({ ...anomaly, phase }),
      reportFlow: (report) => flows.push(report),
      reportEvidence: () => {},
      wantPackets: () => {},
    });
  });

  it('allows members to reach the object manager of members', () => {
    sendConnection(pipeline, { from: '10.0.0.2:5000', to: NODE, time: START });
    pipeline.end(START * 1000);
    expect(anomalies).toEqual([]);
    expect(pipeline.totals()).toMatchObject({ flows: 1, allowed: 1, unexpected: 0 });
    expect(flows).toHaveLength(1);
    expect(flows[0]?.verdict).toEqual({ allowed: true, rule: 'nodes exchange objects', reason: 'allowed' });
  });

  it('reports an unknown peer at the segment that completes its handshake', () => {
    sendHandshake(pipeline, { from: '192.0.2.9:5000', to: NODE, time: START });
    expect(anomalies).toHaveLength(1);
    expect(anomalies[0]).toMatchObject({
      phase: 'opened',
      kind: 'unexpected-peer',
      severity: 'critical',
      node: 'w1',
      count: 1,
      bytes: 120,
      first: '2026-11-23T12:00:00.000000000Z',
      verdict: { allowed: false, rule: null, reason: 'no-rule' },
      flow: {
        source: { ip: '192.0.2.9', port: 5000, packets: 2, bytes: 80 },
        plasmawatch: { state: 'established', service: 'object-manager' },
      },
      message: 'Unexpected peer 192.0.2.9 talks to object-manager port 43800 of 10.0.0.1 (no rule allows it)',
    });
  });

  it('reports a stranger of whom only the kernel saw packets, and counts what it counted', () => {
    const counts = Object.assign(new FlowCounts(), {
      source2: 0xffff,
      source3: 0xc0000209,
      destination2: 0xffff,
      destination3: 0x0a000001,
      sourcePort: 5000,
      destinationPort: 43_800,
      packets: 10,
      bytes: 1540,
      payloadBytes: 1000,
      tcpFlags: 0x10,
      seconds: START,
    });
    pipeline.counts(counts);
    expect(anomalies.map(({ kind, flow }) => [kind, flow?.source.ip, flow?.source.bytes])).toEqual([
      ['unexpected-peer', '192.0.2.9', 1540],
    ]);
    expect(pipeline.totals()).toMatchObject({ packets: 10, bytes: 1540, flows: 1 });
  });

  it('reports what leaves to a stranger who listens on the port', () => {
    sendHandshake(pipeline, { from: '10.0.0.1:5000', to: '192.0.2.9:43800', time: START });
    expect(anomalies[0]).toMatchObject({
      kind: 'unexpected-destination',
      message:
        'Member 10.0.0.1 connects to object-manager port 43800 of 192.0.2.9, which is no member (no rule allows it)',
    });
  });

  it('takes the service for the responder when it joins midstream, whoever speaks first', () => {
    sendPacket(pipeline, { from: NODE, to: '192.0.2.9:5000', flags: 'ack', payloadLength: 100, time: START });
    expect(anomalies[0]).toMatchObject({ kind: 'unexpected-peer', flow: { source: { ip: '192.0.2.9' } } });
  });

  it('tells many connections of one stranger as one story, with its totals at the end', () => {
    for (let port = 5000; port < 5100; port++) {
      sendConnection(pipeline, { from: `192.0.2.9:${port}`, to: NODE, time: START, payloadLength: 60 });
    }
    pipeline.end(START * 1000);
    expect(anomalies.map(({ phase, id, count, bytes }) => ({ phase, id, count, bytes }))).toEqual([
      { phase: 'opened', id: 'anomaly-1', count: 1, bytes: 120 },
      { phase: 'over', id: 'anomaly-1', count: 100, bytes: 100 * (240 + 60) },
    ]);
  });

  it('repeats a story while it grows, and not while it stands still', () => {
    sendHandshake(pipeline, { from: '192.0.2.9:5000', to: NODE, time: START });
    pipeline.tick((START + 9) * 1000);
    pipeline.tick((START + 11) * 1000);
    expect(anomalies).toHaveLength(1);
    sendPacket(pipeline, {
      from: '192.0.2.9:5000',
      to: NODE,
      flags: 'ack',
      payloadLength: 1000,
      time: START + 12,
    });
    pipeline.tick((START + 12) * 1000);
    pipeline.tick((START + 13) * 1000);
    expect(anomalies.map(({ phase, bytes }) => [phase, bytes])).toEqual([
      ['opened', 120],
      ['growing', 1160],
    ]);
  });

  it('ends a story after a quiet minute, and begins another when the stranger is back', () => {
    sendConnection(pipeline, { from: '192.0.2.9:5000', to: NODE, time: START });
    pipeline.tick((START + 300) * 1000);
    sendConnection(pipeline, { from: '192.0.2.9:5000', to: NODE, time: START + 301 });
    expect(anomalies.map(({ phase, id }) => [phase, id])).toEqual([
      ['opened', 'anomaly-1'],
      ['over', 'anomaly-1'],
      ['opened', 'anomaly-2'],
    ]);
  });

  it('judges open connections again when the rules change', () => {
    sendHandshake(pipeline, { from: '10.0.0.2:5000', to: NODE, time: START });
    pipeline.setPolicy({ ruleset: rulesetOf([]), membership });
    expect(anomalies.map(({ kind, flow }) => [kind, flow?.source.ip])).toEqual([
      ['unexpected-peer', '10.0.0.2'],
    ]);
    pipeline.setPolicy({ ruleset: nodesExchangeObjects(), membership });
    pipeline.end(START * 1000);
    expect(pipeline.totals()).toMatchObject({ allowed: 1, unexpected: 0 });
  });

  it('lets a node that leaves take its leave, and calls it a former member when it goes on', () => {
    const talk = (time: number): void =>
      sendPacket(pipeline, { from: '10.0.0.2:5000', to: NODE, flags: 'ack', payloadLength: 10, time });
    talk(START);
    provider.publish({ ...membersView('10.0.0.1'), ended: ['10.0.0.2'] });
    pipeline.membershipChanged();
    talk(START + 29);
    pipeline.tick((START + 29) * 1000);
    pipeline.tick((START + 60) * 1000);
    expect(anomalies).toEqual([]);
    talk(START + 61);
    pipeline.tick((START + 61) * 1000);
    expect(anomalies).toMatchObject([
      { kind: 'former-member', severity: 'warning', verdict: { reason: 'former-member' } },
    ]);
  });

  describe('with a watched dashboard', () => {
    const DASHBOARD = '10.0.0.1:8265';
    const toDashboard = (to: readonly string[] = ['object-manager', 'dashboard']): Ruleset =>
      new Ruleset({
        rules: [sampleRule({ to: [...to] })],
        services: new Map<string, ServicePorts>([
          ['object-manager', 'auto'],
          ['dashboard', 'auto'],
        ]),
        groups: new Map(),
      });

    it.each([
      ['the dashboard a minute after it counts as a member no more', DASHBOARD, 85, []],
      ['the dashboard later', DASHBOARD, 95, ['former-member']],
      ['an object manager at once', NODE, 35, ['former-member']],
    ])('lets a node that has left talk to %s', (_title, to, seconds, kinds) => {
      pipeline.setPolicy({ ruleset: toDashboard(), membership });
      provider.publish({ ...membersView('10.0.0.1'), ended: ['10.0.0.2'] });
      pipeline.membershipChanged();
      sendHandshake(pipeline, { from: '10.0.0.2:5000', to, time: START + seconds });
      expect(anomalies.map(({ kind }) => kind)).toEqual(kinds);
    });

    it('reports the conversation with the dashboard that a node which has left goes on with', () => {
      pipeline.setPolicy({ ruleset: toDashboard(), membership });
      provider.publish({ ...membersView('10.0.0.1'), ended: ['10.0.0.2'] });
      pipeline.membershipChanged();
      sendHandshake(pipeline, { from: '10.0.0.2:5000', to: DASHBOARD, time: START + 60 });
      pipeline.tick((START + 61) * 1000);
      expect(anomalies).toEqual([]);
      sendPacket(pipeline, {
        from: '10.0.0.2:5000',
        to: DASHBOARD,
        flags: 'ack',
        payloadLength: 10,
        time: START + 95,
      });
      pipeline.tick((START + 95) * 1000);
      expect(anomalies).toMatchObject([{ kind: 'former-member' }]);
    });

    it('lets nobody talk to it who was no member, or whom the rules never allowed', () => {
      pipeline.setPolicy({ ruleset: toDashboard(['object-manager']), membership });
      provider.publish({ ...membersView('10.0.0.1'), ended: ['10.0.0.2'] });
      pipeline.membershipChanged();
      sendHandshake(pipeline, { from: '10.0.0.2:5000', to: DASHBOARD, time: START + 35 });
      sendHandshake(pipeline, { from: '192.0.2.9:5000', to: DASHBOARD, time: START + 35 });
      expect(anomalies).toHaveLength(2);
    });

    it("makes no anomaly of this program's own question, also once its socket is gone", () => {
      let isOpen = true;
      const own = new Pipeline({
        node: 'w1',
        policy: { ruleset: toDashboard(['object-manager']), membership },
        maxFlows: 1024,
        countOnOneInterface: true,
        createId: () => 'anomaly',
        interfaceName: () => undefined,
        reportAnomaly: (anomaly, phase) => anomalies.push({ ...anomaly, phase }),
        reportFlow: (report) => flows.push(report),
        reportEvidence: () => {},
        wantPackets: () => {},
        processes: {
          isLocal: (end) => end.w3 === address('10.0.0.2').w3,
          isOwn: ({ localPort }) => isOpen && localPort === 5000,
          find: () => Promise.resolve(undefined),
        },
      });
      sendHandshake(own, { from: '10.0.0.2:5000', to: DASHBOARD, time: START });
      isOpen = false;
      own.membershipChanged();
      expect(anomalies).toEqual([]);
      // Another program of this node, and what is no dashboard.
      sendHandshake(own, { from: '10.0.0.2:5001', to: DASHBOARD, time: START });
      sendHandshake(own, { from: '10.0.0.2:5000', to: '192.0.2.9:43800', time: START });
      expect(anomalies.map(({ flow }) => `${flow?.source.port} ${flow?.destination.port}`)).toEqual([
        '5001 8265',
        '5000 43800',
      ]);
      own.end(START * 1000);
    });
  });

  it('watches an endpoint outside the cluster that the raylet connected to, whatever its port', () => {
    sendHandshake(pipeline, { from: '10.0.0.1:5000', to: '192.0.2.9:7777', time: START });
    expect(anomalies).toEqual([]);
    pipeline.observeRayletConnection(address('192.0.2.9'), 7777, START * 1000);
    expect(anomalies[0]).toMatchObject({
      kind: 'unexpected-destination',
      flow: { destination: { port: 7777 } },
    });
    expect(pipeline.services.ports().has(7777)).toBe(true);
  });

  it('lets the raylet connect to members as it likes', () => {
    pipeline.observeRayletConnection(address('10.0.0.2'), 7777, START * 1000);
    expect(pipeline.services.ports().has(7777)).toBe(false);
  });

  it('reports a long connection once a minute, when it carried something', () => {
    sendHandshake(pipeline, { from: '10.0.0.2:5000', to: NODE, time: START });
    pipeline.reportOpenFlows((START + 61) * 1000);
    pipeline.reportOpenFlows((START + 122) * 1000);
    sendPacket(pipeline, {
      from: '10.0.0.2:5000',
      to: NODE,
      flags: 'ack',
      payloadLength: 10,
      time: START + 123,
    });
    pipeline.reportOpenFlows((START + 124) * 1000);
    pipeline.reportOpenFlows((START + 190) * 1000);
    expect(flows.map(({ flow }) => flow.source.packets)).toEqual([2, 3]);
  });

  it('counts what is no TCP, and ignores connections to other ports', () => {
    sendConnection(pipeline, { from: '192.0.2.9:5000', to: '10.0.0.1:80', time: START });
    pipeline.end(START * 1000);
    expect(pipeline.totals()).toMatchObject({ packets: 6, flows: 1, allowed: 0, unexpected: 0, skipped: {} });
    expect(anomalies).toEqual([]);
    expect(flows).toEqual([]);
  });

  it('names what it could not read, and counts later fragments to their connection', () => {
    pipeline.frame(frameOf(IPV4_PACKET, { linkType: 147 }));
    pipeline.frame(frameOf('45 00', { linkType: LINKTYPE_IPV4 }));
    const fragment = (offset: string): string => IPV4_PACKET.replace('00 00 40 00', `12 34 ${offset}`);
    for (const offset of ['00 05', '20 00', '00 05']) {
      pipeline.frame(frameOf(fragment(offset), { linkType: LINKTYPE_IPV4 }));
    }
    expect(pipeline.totals()).toMatchObject({
      packets: 5,
      flows: 1,
      skipped: { truncated: 1, 'later-fragment': 1, 'unsupported link type 147': 1 },
      undecodable: 2,
      turnedAwayFragments: 0,
    });
  });

  it('keeps ten thousand activities at a time, and reports whoever comes beyond', () => {
    for (let stranger = 0; stranger < 10_005; stranger++) {
      const from = `172.16.${stranger >> 8}.${stranger & 255}:5000`;
      sendHandshake(pipeline, { from, to: NODE, time: START });
    }
    expect(anomalies.filter(({ phase }) => phase === 'opened')).toHaveLength(10_005);
    expect(anomalies.filter(({ phase }) => phase === 'over')).toHaveLength(5);
  });
});

function nodesExchangeObjects(): Ruleset {
  return rulesetOf([sampleRule()]);
}

function rulesetOf(rules: readonly Rule[]): Ruleset {
  const services = new Map<string, ServicePorts>([['object-manager', 'auto']]);
  return new Ruleset({ rules, services, groups: new Map() });
}

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(`no address: ${text}`);
  return parsed;
}
