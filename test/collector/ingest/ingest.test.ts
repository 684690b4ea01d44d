import { once } from 'node:events';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import { Enrolments } from '../../../collector/fleet/enrolments.ts';
import { HEARTBEAT_WRITE_MS } from '../../../collector/ingest/heartbeats.ts';
import { CLOSE_TIMEOUT_MS, HELLO_TIMEOUT_MS, PING_INTERVAL_MS } from '../../../collector/ingest/session.ts';
import { PlasmawatchError } from '../../../common/errors.ts';
import type { Report } from '../../../common/event.ts';
import { INGEST_PATH, MAX_MESSAGE_BYTES, PROTOCOL_VERSION } from '../../../common/protocol.ts';
import { openParts, TEST_EPOCH } from '../../support/collector-parts.ts';
import { textFrame, upgrade } from '../../support/raw-web-socket.ts';
import { runIngest, type IngestSettings } from '../../support/running-ingest.ts';
import { sampleAnomaly, sampleFlowReport } from '../../support/sample-report.ts';

const TOKEN = 'agents-only-0123456789';
const closers: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

async function openIngest({
  token = TOKEN,
  ...settings
}: IngestSettings & { readonly token?: string | null } = {}) {
  const parts = await openParts();
  const enrolments = new Enrolments({
    ...parts,
    token: token ?? undefined,
    enrolledOnly: false,
    tokenLifeMs: 3_600_000,
    maxAgents: 10,
  });
  const { ingest, url, stop } = await runIngest(parts, { enrolments, ...settings });
  closers.push(async () => {
    await stop();
    parts.store.close();
  });
  return { ...parts, ingest, url, refused: (reason: string) => refusals(parts, reason) };
}

async function refusals({ metrics }: Awaited<ReturnType<typeof openParts>>, reason: string): Promise<number> {
  const { values } = await metrics.peersRefused.get();
  return values.find(({ labels }) => labels['reason'] === reason)?.value ?? 0;
}

/** A peer that keeps what it is sent. */
class Peer {
  readonly socket: WebSocket;
  readonly messages: unknown[] = [];
  readonly closed: Promise<{ code: number; reason: string }>;

  constructor(url: string, headers: Record<string, string> = { authorization: `Bearer ${TOKEN}` }) {
    this.socket = new WebSocket(url + INGEST_PATH, { headers, perMessageDeflate: false });
    this.socket.on('message', (data) => {
      const message = JSON.parse((data as Buffer).toString()) as { type: string };
      // Comes before the welcome and now and then; test/collector/fleet/agent-clocks.test.ts answers it.
      if (message.type !== 'ask-time') this.messages.push(message);
    });
    this.socket.on('error', () => {});
    this.closed = once(this.socket, 'close').then(([code, reason]) => ({
      code: code as number,
      reason: String(reason),
    }));
  }

  static async open(url: string): Promise<Peer> {
    const peer = new Peer(url);
    await once(peer.socket, 'open');
    return peer;
  }

  send(message: object): void {
    this.socket.send(JSON.stringify(message));
  }

  async next(count: number): Promise<unknown> {
    return vi.waitUntil(() => this.messages[count - 1], { timeout: 10_000 });
  }
}

function hello(changes: object = {}): object {
  return {
    type: 'hello',
    protocol: PROTOCOL_VERSION,
    agent: 'w1',
    epoch: TEST_EPOCH,
    version: '0.1.0',
    capture: 'ring',
    ...changes,
  };
}

function reports(...sequences: number[]): object {
  return {
    type: 'reports',
    reports: sequences.map((sequence) => ({ sequence, report: sampleAnomaly(sequence) })),
  };
}

/** The status of an upgrade. */
async function statusOf(url: string, path: string, headers: Record<string, string>): Promise<number> {
  const { status, socket } = await upgrade(url + path, headers);
  socket?.destroy();
  return status;
}

describe('before the upgrade', () => {
  it.each([
    ['no token', INGEST_PATH, {}, 401, 'wrong-token'],
    ['a wrong token', INGEST_PATH, { authorization: 'Bearer wrong' }, 401, 'wrong-token'],
    ['another path', '/v1/other', { authorization: `Bearer ${TOKEN}` }, 404, 'wrong-path'],
    [
      'a page in a browser',
      INGEST_PATH,
      { authorization: `Bearer ${TOKEN}`, origin: 'http://127.0.0.1' },
      403,
      'from-a-browser',
    ],
    [
      'a faulty key',
      INGEST_PATH,
      { authorization: `Bearer ${TOKEN}`, 'sec-websocket-key': 'short' },
      400,
      'bad-upgrade',
    ],
  ])('turns away %s', async (_name, path, headers, status, reason) => {
    const { url, refused } = await openIngest();
    expect(await statusOf(url, path, headers as Record<string, string>)).toBe(status);
    expect(await refused(reason)).toBe(1);
  });

  it('lets the right token in, and everybody where none is configured', async () => {
    const guarded = await openIngest();
    expect(await statusOf(guarded.url, INGEST_PATH, { authorization: `Bearer ${TOKEN}` })).toBe(101);
    const open = await openIngest({ token: null });
    expect(await statusOf(open.url, INGEST_PATH, {})).toBe(101);
  });

  it('has room for so many connections only', async () => {
    const { url, refused } = await openIngest({ limits: { maxConnections: 1 } });
    await Peer.open(url);
    expect(await statusOf(url, INGEST_PATH, { authorization: `Bearer ${TOKEN}` })).toBe(503);
    expect(await refused('too-many-connections')).toBe(1);
  });

  it('tells people that it turns connections away', async () => {
    const reached: string[] = [];
    const ownLimits = { note: (limit: string) => void reached.push(limit) };
    const { url } = await openIngest({ ownLimits, limits: { maxConnections: 1 } });
    await Peer.open(url);
    expect(reached).toEqual([]);
    await statusOf(url, INGEST_PATH, { authorization: `Bearer ${TOKEN}` });
    expect(reached).toEqual(['connections']);
  });
});

describe('hello', () => {
  it('is answered with the last sequence of that epoch', async () => {
    const { url } = await openIngest();
    const first = await Peer.open(url);
    first.send(hello());
    expect(await first.next(1)).toEqual({ type: 'welcome', protocol: PROTOCOL_VERSION, lastSequence: 0 });
    first.send(reports(1, 2, 3));
    await first.next(2);
    first.socket.close();
    await first.closed;
    const second = await Peer.open(url);
    second.send(hello());
    expect(await second.next(1)).toMatchObject({ lastSequence: 3 });
    second.socket.close();
    await second.closed;
    const other = await Peer.open(url);
    other.send(hello({ epoch: '6f1c2a52-5df2-4c0e-9d8e-2a4f1a7f0002' }));
    expect(await other.next(1)).toMatchObject({ lastSequence: 0 });
  });

  it('must come in time', async () => {
    const { url, clock, ingest, refused } = await openIngest();
    const peer = await Peer.open(url);
    await vi.waitFor(() => expect(clock.pending).toBeGreaterThan(0));
    clock.advance(HELLO_TIMEOUT_MS);
    expect(await peer.closed).toMatchObject({ code: 1008 });
    expect(await refused('no-hello')).toBe(1);
    expect(ingest.connectedAgents().size).toBe(0);
  });

  it('must come first', async () => {
    const { url, store } = await openIngest();
    const peer = await Peer.open(url);
    peer.send(reports(1));
    expect(await peer.closed).toEqual({ code: 1008, reason: 'hello comes first' });
    expect(store.reportsAfter(0, 10)).toEqual([]);
  });

  it('of another protocol version is told so, whatever else it holds', async () => {
    const { url } = await openIngest();
    const peer = await Peer.open(url);
    peer.send(hello({ protocol: 99, novelty: true }));
    expect(await peer.closed).toEqual({ code: 4001, reason: 'this collector speaks protocol 1' });
  });

  it('of a newer session ends the older one', async () => {
    const { url, ingest } = await openIngest();
    const older = await Peer.open(url);
    older.send(hello());
    await older.next(1);
    const newer = await Peer.open(url);
    newer.send(hello());
    await newer.next(1);
    expect(await older.closed).toMatchObject({ code: 1001 });
    newer.send(reports(1));
    expect(await newer.next(2)).toEqual({ type: 'ack', sequence: 1 });
    expect([...ingest.connectedAgents()]).toEqual(['w1']);
  });

  it('of one agent too many is sent away to try again later', async () => {
    const reached: string[] = [];
    const ownLimits = { note: (limit: string) => void reached.push(limit) };
    const { url } = await openIngest({ ownLimits, limits: { maxAgents: 1 } });
    const known = await Peer.open(url);
    known.send(hello());
    await known.next(1);
    const stranger = await Peer.open(url);
    stranger.send(hello({ agent: 'w2' }));
    expect(await stranger.closed).toMatchObject({ code: 1013 });
    expect(reached).toEqual(['agents']);
  });
});

describe('reports', () => {
  it('are acknowledged with the highest sequence, once they are in the store', async () => {
    const { url, store } = await openIngest();
    const peer = await Peer.open(url);
    peer.send(hello());
    let storedAtAck = -1;
    peer.socket.on('message', (data) => {
      if ((data as Buffer).toString().includes('"ack"')) storedAtAck = store.reportsAfter(0, 10).length;
    });
    peer.send(reports(1, 2, 3));
    expect(await peer.next(2)).toEqual({ type: 'ack', sequence: 3 });
    expect(storedAtAck).toBe(3);
  });

  it('that come again are acknowledged again and stored once', async () => {
    const { url, store } = await openIngest();
    const peer = await Peer.open(url);
    peer.send(hello());
    peer.send(reports(1, 2));
    peer.send(reports(1, 2, 3));
    expect(await peer.next(3)).toEqual({ type: 'ack', sequence: 3 });
    expect(store.reportsAfter(0, 10).map(({ sequence }) => sequence)).toEqual([1, 2, 3]);
  });

  it('are not acknowledged when the store fails, and the agent can come back with them', async () => {
    const parts = await openParts();
    const failing = new PlasmawatchError('PW_STORE', 'cannot use the store: database or disk is full');
    let isFull = true;
    const record = parts.recorder.record.bind(parts.recorder);
    parts.recorder.record = (...values) => {
      if (isFull) throw failing;
      record(...values);
    };
    const { url, refused } = await openIngest({ ...parts });
    const peer = await Peer.open(url);
    peer.send(hello());
    peer.send(reports(1));
    expect(await peer.closed).toMatchObject({ code: 1011 });
    expect(peer.messages).toHaveLength(1);
    isFull = false;
    const again = await Peer.open(url);
    again.send(hello());
    again.send(reports(1));
    expect(await again.next(2)).toEqual({ type: 'ack', sequence: 1 });
    expect(await refused('bad-message')).toBe(0);
  });

  it('and heartbeats of one agent are kept with its name', async () => {
    const { url, store, clock } = await openIngest();
    const peer = await Peer.open(url);
    peer.send(hello());
    peer.send({ type: 'heartbeat', counters: { received: 9, dropped: null } });
    peer.send({ type: 'heartbeat', counters: { received: 10, dropped: null } });
    peer.send(reports(1));
    await peer.next(2);
    clock.advance(HEARTBEAT_WRITE_MS);
    expect(store.fleet.agent('w1')?.counters).toEqual({ received: 10, dropped: null });
  });
});

describe('what no agent sends', () => {
  it.each<[string, string | Buffer]>([
    ['text that is no JSON', 'secret-looking words'],
    ['an unknown type', '{"type":"shutdown"}'],
    ['an unknown field', JSON.stringify({ ...reports(1), extra: true })],
    ['a counter of a strange name', '{"type":"heartbeat","counters":{"a secret name":1}}'],
    [
      'a report of the wrong shape',
      '{"type":"reports","reports":[{"sequence":1,"report":{"type":"anomaly"}}]}',
    ],
    [
      'too many reports',
      JSON.stringify({
        type: 'reports',
        reports: Array.from({ length: 501 }, (_, index) => ({ sequence: index, report: sampleFlowReport() })),
      }),
    ],
    ['a second hello', JSON.stringify(hello())],
    ['a binary message', Buffer.from('{"type":"heartbeat","counters":{}}')],
  ])('ends the connection: %s', async (_name, message) => {
    const { url, store, refused } = await openIngest();
    const peer = await Peer.open(url);
    peer.send(hello());
    await peer.next(1);
    peer.socket.send(message);
    const { code, reason } = await peer.closed;
    expect(code).toBe(1008);
    expect(reason).not.toMatch(/secret|shutdown|extra/);
    expect(await refused('bad-message')).toBe(1);
    expect(store.reportsAfter(0, 10)).toEqual([]);
  });

  it.each<[string, Report]>([
    ['an anomaly', sampleAnomaly(2)],
    ['a flow report', sampleFlowReport()],
    ['evidence', { type: 'evidence', node: 'w1', anomaly: 'w1-1', packets: 1, pcapng: 'Cg0NCg==' }],
  ])('ends the connection, and stores nothing of the message: %s of another node', async (_name, report) => {
    const { url, store, refused } = await openIngest();
    const peer = await Peer.open(url);
    peer.send(hello({ agent: 'w2' }));
    const own = { ...sampleAnomaly(1), node: 'w2' };
    const batch = [own, report].map((report, index) => ({ sequence: index + 1, report }));
    peer.send({ type: 'reports', reports: batch });
    expect(await peer.closed).toEqual({ code: 1008, reason: 'a report of another node' });
    expect(await refused('wrong-name')).toBe(1);
    expect(store.reportsAfter(0, 10)).toEqual([]);
  });

  it('ends the connection: an agent that says it is missing, which would end the incident of its absence', async () => {
    const { url, store, refused } = await openIngest();
    const peer = await Peer.open(url);
    peer.send(hello());
    const report = { ...sampleAnomaly(1), kind: 'missing', flow: null, verdict: null, ended: true };
    peer.send({ type: 'reports', reports: [{ sequence: 1, report }] });
    expect(await peer.closed).toMatchObject({ code: 1008 });
    expect(await refused('bad-message')).toBe(1);
    expect(store.reportsAfter(0, 10)).toEqual([]);
  });

  it('ends the connection: a message over the limit', async () => {
    const { url, refused } = await openIngest();
    const peer = await Peer.open(url);
    peer.send(hello());
    await peer.next(1);
    peer.socket.send('x'.repeat(MAX_MESSAGE_BYTES + 1));
    expect(await peer.closed).toMatchObject({ code: 1009 });
    expect(await refused('too-long')).toBe(1);
  });
});

describe('a peer that sends too much', () => {
  it('is read no faster than it may send, and loses nothing', async () => {
    const { url, clock, metrics } = await openIngest({ limits: { messagesPerSecond: 1 } });
    const peer = await Peer.open(url);
    peer.send(hello());
    await peer.next(1);
    // Four messages may come at once; the fifth is one too many, and what follows has to wait.
    for (const sequence of [1, 2, 3, 4]) peer.send(reports(sequence));
    expect(await peer.next(5)).toEqual({ type: 'ack', sequence: 4 });
    expect((await metrics.sessionsSlowed.get()).values[0]?.value).toBe(1);
    peer.send(reports(5));
    await new Promise(setImmediate);
    expect(peer.messages).toHaveLength(5);
    clock.advance(1000);
    expect(await peer.next(6)).toEqual({ type: 'ack', sequence: 5 });
  });

  it('is read no faster than its bytes may come', async () => {
    const { url, clock, metrics } = await openIngest({ limits: { bytesPerSecond: 1000 } });
    const peer = await Peer.open(url);
    peer.send(hello());
    peer.send(reports(1, 2, 3, 4, 5));
    peer.send(reports(6, 7, 8, 9, 10));
    await peer.next(2);
    clock.advance(10_000);
    expect(await peer.next(3)).toEqual({ type: 'ack', sequence: 10 });
    expect((await metrics.sessionsSlowed.get()).values[0]?.value).toBe(1);
  });

  it('is cut off when no waiting would do', async () => {
    const { url, refused } = await openIngest({ limits: { messagesPerSecond: 1 } });
    const flood = await upgrade(url + INGEST_PATH, { authorization: `Bearer ${TOKEN}` });
    const heartbeat = textFrame('{"type":"heartbeat","counters":{}}');
    flood.socket?.write(
      Buffer.concat([textFrame(JSON.stringify(hello())), ...Array<Buffer>(100).fill(heartbeat)]),
    );
    await vi.waitFor(async () => expect(await refused('too-fast')).toBe(1));
    flood.socket?.destroy();
  });

  it('is cut off when it pings and does not read the answers', async () => {
    const { url, refused } = await openIngest({ limits: { messagesPerSecond: 1e6, bytesPerSecond: 1e9 } });
    const peer = await Peer.open(url);
    peer.send(hello());
    await peer.next(1);
    peer.socket.pause();
    const payload = Buffer.alloc(125);
    for (let index = 0; index < 200_000 && peer.socket.readyState === WebSocket.OPEN; index++) {
      peer.socket.ping(payload);
      if (index % 1000 === 0) await new Promise(setImmediate);
    }
    await vi.waitFor(async () => expect(await refused('does-not-read')).toBe(1), { timeout: 10_000 });
    peer.socket.resume();
    await peer.closed;
  });

  it('in pieces is cut off: a message is one frame', async () => {
    const { url, refused } = await openIngest();
    const peer = await Peer.open(url);
    peer.send(hello());
    await peer.next(1);
    peer.socket.send('{"type":"heart', { fin: false });
    peer.socket.send('beat","counters":{}}', { fin: true });
    expect(await peer.closed).toMatchObject({ code: 1008 });
    expect(await refused('bad-message')).toBe(1);
  });

  it('is cut off when it does not take leave', async () => {
    const { url, clock, refused } = await openIngest();
    const peer = await Peer.open(url);
    const pending = clock.pending;
    peer.socket.pause();
    peer.send({ type: 'nonsense' });
    await vi.waitFor(async () => expect(await refused('bad-message')).toBe(1));
    expect(clock.pending).toBe(pending + 1);
    clock.advance(CLOSE_TIMEOUT_MS);
    peer.socket.resume();
    // The close frame was sent before.
    expect(await peer.closed).toMatchObject({ code: 1008 });
    await vi.waitFor(() => expect(clock.pending).toBe(0));
  });
});

describe('a peer that went away', () => {
  it('is cut off when it answers no ping', async () => {
    const { url, clock, ingest, refused } = await openIngest();
    const peer = await Peer.open(url);
    peer.send(hello());
    await peer.next(1);
    peer.socket.pause();
    clock.advance(PING_INTERVAL_MS);
    clock.advance(PING_INTERVAL_MS);
    await vi.waitFor(() => expect(ingest.connectedAgents().size).toBe(0));
    expect(await refused('silent')).toBe(1);
    peer.socket.resume();
    await peer.closed;
  });

  it('is told when the collector stops', async () => {
    const { url, ingest } = await openIngest();
    const peer = await Peer.open(url);
    peer.send(hello());
    await peer.next(1);
    await Promise.all([ingest.stop(), peer.closed]);
    expect(await peer.closed).toEqual({ code: 1001, reason: 'the collector stops' });
  });
});
