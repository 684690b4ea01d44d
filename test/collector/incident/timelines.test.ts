/** Stories that are told to people, message by message: what a pager and a chat get, and when. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  anomalyWithoutFlow,
  type Anomaly,
  type AnomalyKind,
  type FlowRecord,
} from '../../../common/event.ts';
import { sampleAnomaly } from '../../support/sample-report.ts';
import { openTimeline, type Timeline } from '../../support/timeline.ts';

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const MIB = 2 ** 20;

let timeline: Timeline;
beforeEach(async () => {
  timeline = await openTimeline();
});
afterEach(() => timeline.close());

interface Connections {
  readonly node: string;
  /** The stranger, whichever side he is on. */
  readonly peer: string;
  readonly service?: string;
  readonly kind?: AnomalyKind;
  readonly count: number;
  readonly bytes: number;
  /** Tells stories of one node, peer and service apart. */
  readonly visit?: number;
}

/** As an agent tells it: one story for each node, peer and service, with totals that grow. */
function connections({ node, peer, kind = 'unexpected-peer', count, bytes, ...more }: Connections): Anomaly {
  const { service = 'object-manager', visit = 1 } = more;
  const { flow } = sampleAnomaly(1);
  if (flow === null) throw new Error('the sample has a flow');
  const toPeer = kind === 'unexpected-destination';
  const sides: Pick<FlowRecord, 'source' | 'destination'> = {
    source: { ...flow.source, ip: toPeer ? '10.77.0.11' : peer },
    destination: { ...flow.destination, ip: toPeer ? peer : '10.77.0.11' },
  };
  const plasmawatch = { ...flow.plasmawatch, service };
  const id = `${node} ${peer} ${service} ${visit}`;
  const severity = kind === 'former-member' ? 'warning' : 'critical';
  return {
    ...sampleAnomaly(1),
    id,
    kind,
    severity,
    node,
    flow: { ...flow, ...sides, plasmawatch },
    count,
    bytes,
  };
}

function blind(node: string, count: number, ended?: true): Anomaly {
  const now = '2026-11-23T09:00:00Z';
  const message = `Node ${node} is partly blind: ${count} packets were lost`;
  const story = { id: `blind ${node}`, kind: 'blind', severity: 'warning', node } as const;
  return anomalyWithoutFlow({
    ...story,
    count,
    first: now,
    last: now,
    message,
    ...(ended === undefined ? {} : { ended }),
  });
}

describe('a scan of 10,000 ports on three nodes', () => {
  it('is one incident', async () => {
    const services = ['node-manager', 'gcs', 'dashboard', 'client-server', 'object-manager', 'worker'];
    // A hundred ports a second: the first connection to a service is told at once, then every ten seconds what there is.
    for (let second = 0; second < 100; second++) {
      for (const [index, service] of services.entries()) {
        const isFirst = second === index;
        const isGrowing = service === 'worker' && second > index && (second - index) % 10 === 0;
        if (!isFirst && !isGrowing) continue;
        const count = isFirst ? 1 : (second - index) * 100;
        for (const node of ['w1', 'w2', 'w3']) {
          timeline.report(connections({ node, peer: '10.66.0.9', service, count, bytes: count * 120 }));
        }
      }
      await timeline.pass(SECOND_MS);
    }
    for (const node of ['w1', 'w2', 'w3']) {
      const all = { count: 9995, bytes: 9995 * 120 };
      timeline.report(connections({ node, peer: '10.66.0.9', service: 'worker', ...all }));
    }
    await timeline.pass(HOUR_MS);
    expect(timeline.lines()).toEqual([
      '0:00:00 chat, pager opened: Unexpected peer 10.66.0.9 talks to the node manager on w1 (critical, 1 connection, 120 B)',
      '0:00:10 chat, pager escalated: 10.66.0.9 scans w1 and 2 more nodes (critical, 18 connections, 2.11 KiB)',
      '0:05:10 chat, pager updated: 10.66.0.9 scans w1 and 2 more nodes, most data through a worker on w1 (critical, 30000 connections, 3.43 MiB)',
      '0:17:00 chat, pager resolved: 10.66.0.9 scans w1 and 2 more nodes, most data through a worker on w1 (critical, 30000 connections, 3.43 MiB)',
    ]);
  });
});

describe('a rollout of 500 pods that get addresses of members that left', () => {
  it('is one incident', async () => {
    // In ten minutes; each pod talks to two of twenty nodes.
    for (let pod = 0; pod < 500; pod++) {
      const peer = `10.88.${Math.floor(pod / 250)}.${(pod % 250) + 1}`;
      for (const node of [`n${pod % 20}`, `n${(pod + 7) % 20}`]) {
        timeline.report(connections({ node, peer, kind: 'former-member', count: 1, bytes: 10_000 }));
      }
      if (pod % 5 === 4) await timeline.pass(6 * SECOND_MS);
    }
    await timeline.pass(HOUR_MS);
    expect(timeline.lines()).toEqual([
      '0:00:10 chat opened: 10 former members talk to the object manager on n0 and 16 more nodes (warning, 20 connections, 195 KiB)',
      '0:02:04 chat escalated: 105 former members talk to the object manager on n0 and 19 more nodes (warning, 210 connections, 2 MiB)',
      '0:07:04 chat updated: 355 former members talk to the object manager on n0 and 19 more nodes (warning, 710 connections, 6.77 MiB)',
      '0:25:00 chat resolved: 500 former members talk to the object manager on n0 and 19 more nodes (warning, 1000 connections, 9.54 MiB)',
    ]);
  }, 60_000);
});

describe('a peer that comes and goes', () => {
  it('is one incident, which is kept open for longer each time', async () => {
    // Once in forty minutes, for eight hours.
    for (let visit = 1; visit <= 12; visit++) {
      timeline.report(connections({ node: 'w1', peer: '10.66.0.9', count: 3, bytes: 5000, visit }));
      await timeline.pass(40 * MINUTE_MS);
    }
    await timeline.pass(2 * HOUR_MS);
    const title = 'Unexpected peer 10.66.0.9 talks to the object manager on w1';
    expect(timeline.lines()).toEqual([
      `0:00:00 chat, pager opened: ${title} (critical, 3 connections, 4.88 KiB)`,
      `0:15:00 chat, pager resolved: ${title} (critical, 3 connections, 4.88 KiB)`,
      `0:40:00 chat, pager reopened: ${title} (critical, 6 connections, 9.77 KiB)`,
      `1:10:00 chat, pager resolved: ${title} (critical, 6 connections, 9.77 KiB)`,
      `1:20:00 chat, pager reopened: ${title} (critical, 9 connections, 14.6 KiB)`,
      `3:20:00 chat, pager updated: ${title} (critical, 18 connections, 29.3 KiB)`,
      `7:20:00 chat, pager repeated: ${title} (critical, 33 connections, 53.7 KiB)`,
      `8:20:00 chat, pager resolved: ${title} (critical, 36 connections, 58.6 KiB)`,
    ]);
  }, 60_000);
});

describe('300 nodes that are blind at once', () => {
  it('are one incident, until the last one sees again', async () => {
    const nodes = Array.from({ length: 300 }, (_, index) => `n${index}`);
    for (const [index, node] of nodes.entries()) {
      timeline.report(blind(node, 1000));
      if (index % 100 === 99) await timeline.pass(SECOND_MS);
    }
    await timeline.pass(12 * MINUTE_MS);
    for (const [index, node] of nodes.entries()) {
      timeline.report(blind(node, 1500, true));
      if (index % 100 === 99) await timeline.pass(MINUTE_MS);
    }
    await timeline.pass(HOUR_MS);
    expect(timeline.lines()).toEqual([
      '0:00:10 chat opened: 300 nodes are partly blind: n0 and 299 more nodes (warning, 300000 lost packets)',
      '0:14:03 chat resolved: 300 nodes are partly blind: n0 and 299 more nodes (warning, 450000 lost packets)',
    ]);
  });
});

describe('a slow exfiltration', () => {
  it('is told at once, and again as it becomes large', async () => {
    // 17 MiB a minute for twelve hours, through one connection.
    for (let minute = 0; minute <= 12 * 60; minute++) {
      const bytes = 4200 + minute * 17 * MIB;
      timeline.report(
        connections({ node: 'w1', peer: '198.51.100.7', kind: 'unexpected-destination', count: 1, bytes }),
      );
      await timeline.pass(MINUTE_MS);
    }
    await timeline.pass(HOUR_MS);
    const title = 'Unexpected destination 198.51.100.7: connections to the object manager there from w1';
    expect(timeline.lines()).toEqual([
      `0:00:00 chat, pager opened: ${title} (critical, 1 connection, 4.1 KiB)`,
      `0:05:00 chat, pager updated: ${title} (critical, 1 connection, 68 MiB)`,
      `0:10:00 chat, pager updated: ${title} (critical, 1 connection, 153 MiB)`,
      `0:19:00 chat, pager updated: ${title} (critical, 1 connection, 323 MiB)`,
      `0:39:00 chat, pager updated: ${title} (critical, 1 connection, 663 MiB)`,
      `0:57:01 chat, pager escalated: ${title} (critical, 1 connection, 969 MiB)`,
      `1:55:00 chat, pager updated: ${title} (critical, 1 connection, 1.91 GiB)`,
      `3:51:00 chat, pager updated: ${title} (critical, 1 connection, 3.83 GiB)`,
      `7:43:00 chat, pager updated: ${title} (critical, 1 connection, 7.69 GiB)`,
      `9:21:01 chat, pager escalated: ${title} (critical, 1 connection, 9.31 GiB)`,
      `12:15:00 chat, pager resolved: ${title} (critical, 1 connection, 12 GiB)`,
    ]);
  }, 60_000);
});
