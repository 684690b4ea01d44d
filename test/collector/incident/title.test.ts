import { describe, expect, it } from 'vitest';
import { overflowOf, storyOf } from '../../../collector/incident/story.ts';
import { titleOf, type Titled } from '../../../collector/incident/title.ts';
import { withMember } from '../../../collector/incident/highlights.ts';
import { memberNow } from '../../../collector/incident/lifecycle.ts';
import { ANOMALY_KINDS, type Anomaly } from '../../../common/event.ts';
import type { Highlight } from '../../../collector/store/store.ts';
import { KNOWN_SERVICES } from '../../../rules/schema.ts';
import { sampleAnomaly } from '../../support/sample-report.ts';
import { attemptOf, contactOf } from '../../support/unknown-peer.ts';

function anomaly(kind: Anomaly['kind'], changes: Partial<Anomaly> = {}): Anomaly {
  return { ...sampleAnomaly(1), kind, ...changes };
}

function titled(kind: Anomaly['kind'], changes: Partial<Titled> = {}): Titled {
  const story = storyOf(anomaly(kind));
  return {
    ...story,
    kind,
    breadth: 'story',
    peerCount: 1,
    nodes: ['w1'],
    nodeCount: 1,
    highlights: [],
    ...changes,
  };
}

/** An incident with one member. */
function incidentOf(report: Anomaly, changes: Partial<Titled> = {}): Titled {
  const member = { agent: report.node, anomalyId: report.id, ...memberNow(report) };
  const seen = { peerCount: 1, nodes: [report.node], nodeCount: 1, highlights: withMember([], member) };
  return { ...storyOf(report), kind: report.kind, breadth: 'story', ...seen, ...changes };
}

describe('titleOf', () => {
  it.each([
    ['unexpected-peer', 'Unexpected peer 10.77.9.66 talks to the object manager on w1'],
    [
      'unexpected-destination',
      'Unexpected destination 10.77.0.11: connections to the object manager there from w1',
    ],
    ['former-member', 'Former member 10.77.9.66 talks to the object manager on w1'],
    ['new-member', 'New member 10.77.9.66 seen by w1'],
    ['foreign-process', 'A foreign process uses the port of the object manager on w1'],
    ['scan', '10.77.9.66 scans w1'],
    ['not-ray', '10.77.9.66 does not speak Ray to the object manager on w1'],
    ['volume', '10.77.9.66 moves more than allowed through the object manager on w1'],
    ['blind', 'Node w1 is partly blind'],
  ] as const)('of %s is a sentence', (kind, title) => {
    expect(titleOf(titled(kind))).toBe(title);
  });

  it.each([
    ['unexpected-peer', '7 unexpected peers talk to the object manager on w1 and 2 more nodes'],
    ['missing', 'Nothing is heard of the agents on 3 nodes: w1 and 2 more nodes'],
    ['blind', '3 nodes are partly blind: w1 and 2 more nodes'],
  ] as const)('of many stories of the kind %s counts them', (kind, title) => {
    expect(titleOf(titled(kind, { breadth: 'kind', peerCount: 7, nodeCount: 3 }))).toBe(title);
  });

  it('of a peer that scans names no service', () => {
    expect(titleOf(titled('unexpected-peer', { breadth: 'peer' }))).toBe('10.77.9.66 scans w1');
  });

  it('has one for every kind, and none with a control character of a peer', () => {
    for (const kind of ANOMALY_KINDS) {
      const title = titleOf({
        fingerprint: '',
        kind,
        breadth: 'story',
        peer: null,
        peerCount: 0,
        service: 'a\nb',
        nodes: ['w\u001b[31m1'],
        nodeCount: 3,
        highlights: [],
      });
      expect(title).not.toMatch(/\p{Cc}/u);
      expect(title).toContain('and 2 more nodes');
    }
  });

  it.each([
    [
      attemptOf({ peer: '10.77.9.66' }),
      'Unknown peer 10.77.9.66 tried to connect to the object manager of w1 (no answer)',
    ],
    [
      attemptOf({ peer: '10.77.9.66', state: 'refused', kind: 'former-member' }),
      'Former member 10.77.9.66 tried to connect to the object manager of w1 (refused)',
    ],
    [
      attemptOf({ peer: '10.77.0.11', kind: 'unexpected-destination', service: 'gcs' }),
      'Connection attempts to the GCS of unexpected destination 10.77.0.11 from w1 (no answer)',
    ],
    [anomaly('raylet-conflict', { flow: null }), 'Two users run a raylet on w1'],
    [anomaly('unconfirmed-port', { flow: null }), 'The object-manager port is guessed, not confirmed, on w1'],
    [anomaly('connection-attempts', { flow: null }), 'Unanswered connection attempts to w1'],
  ])('of what nobody answered says so: %#', (report, title) => {
    expect(titleOf(incidentOf(report))).toBe(title);
  });

  it('of many names the one that moved data first, and one of many attempts not', () => {
    const theft = contactOf({ peer: '10.77.9.66', node: 'w2', bytes: 1e9 });
    const many = {
      breadth: 'kind',
      peer: '10.0.0.1',
      peerCount: 7,
      nodes: ['w1', 'w2'],
      nodeCount: 2,
    } as const;
    expect(titleOf(incidentOf(theft, many))).toBe(
      'Unexpected peer 10.77.9.66 and 6 more talk to the object manager on w2 and 1 more node',
    );
    expect(titleOf(incidentOf(attemptOf({ peer: '10.77.9.66' }), many))).toBe(
      '7 unknown peers tried to connect to the object manager of w1 and 1 more node (no answer)',
    );
    const { fingerprint } = overflowOf('contact', 'w1');
    expect(titleOf(incidentOf(theft, { fingerprint, peer: null }))).toBe(
      'Many more anomalies of the kind unexpected-peer on w2, 10.77.9.66 foremost',
    );
  });

  it('counts the nodes to which something happened, and not the one that is the peer itself', () => {
    const seenBy = (node: string, localEnd: Anomaly['localEnd']) =>
      contactOf({ peer: '10.77.0.50', node, localEnd });
    const incident = (...reports: Anomaly[]): Titled => {
      const nodes = reports.map(({ node }) => node);
      const members = reports.map((report) => ({
        agent: report.node,
        anomalyId: report.id,
        ...memberNow(report),
      }));
      const highlights = members.reduce(withMember, [] as Titled['highlights'] as Highlight[]);
      return incidentOf(reports[0] as Anomaly, { nodes, nodeCount: nodes.length, highlights });
    };
    const [w1, b1, b2] = [seenBy('w1', 'source'), seenBy('b1', 'destination'), seenBy('b2', undefined)];
    const title = 'Unexpected peer 10.77.0.50 talks to the object manager on';
    expect(titleOf(incident(b1, w1))).toBe(`${title} b1`);
    expect(titleOf(incident(w1, b1, b2))).toBe(`${title} b1 and 1 more node`);
    // Nobody else has seen it: the node is all there is.
    expect(titleOf(incident(w1))).toBe(`${title} w1`);
  });

  it.each([...KNOWN_SERVICES.keys(), 'other', 'driver'])('has proper words for the service %s', (service) => {
    const title = titleOf(titled('unexpected-peer', { service }));
    const [, words] = / talks to (.*) on w1$/.exec(title) ?? [];
    expect(words).toMatch(/^(the (GCS|[a-zA-Z ]+)|a (worker|driver)|Ray Serve|another service)$/);
    expect(words).not.toMatch(/^the (serve|gcs|client server|service)/);
  });

  it('names a service of the rules by its name', () => {
    expect(titleOf(titled('unexpected-peer', { service: 'my-serve' }))).toBe(
      'Unexpected peer 10.77.9.66 talks to the service my-serve on w1',
    );
  });

  it('names the program of a foreign process and its user, the end of a long path', () => {
    const process = { pid: 1, name: 'socat', executable: '/usr/bin/socat' };
    const of = (changes: Partial<Anomaly>) =>
      titleOf({ ...titled('foreign-process'), ...storyOf(anomaly('foreign-process', changes)) });
    expect(of({ process, user: { id: '0', name: 'root' } })).toBe(
      'A foreign process (/usr/bin/socat of user 0) uses the port of the object manager on w1',
    );
    expect(of({ user: { id: '1000' } })).toContain('A foreign process (a process of user 1000) uses');
    expect(of({ process: { ...process, executable: `/${'a'.repeat(300)}/"],[/socat` } })).toMatch(
      /^A foreign process \(a{50,80}\/"\],\[\/socat\) uses/,
    );
  });
});
