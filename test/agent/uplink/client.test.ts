import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import * as fc from 'fast-check';
import { pino } from 'pino';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import { createUplink, type Uplink, type UplinkOptions } from '../../../agent/uplink/client.ts';
import { openSpool, type Spool } from '../../../agent/uplink/spool.ts';
import { systemClock } from '../../../common/clock.ts';
import { CLOSE_WRONG_VERSION, MAX_BATCH_REPORTS, MAX_MESSAGE_BYTES } from '../../../common/protocol.ts';
import {
  startCollectorEndpoint,
  type BatchFate,
  type CollectorEndpoint,
  type CollectorEndpointOptions,
} from '../../support/collector-endpoint.ts';
import { createHastenedClock } from '../../support/hastened-clock.ts';
import { sampleAnomaly } from '../../support/sample-report.ts';

const cleanUps: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

async function startEndpoint(options: CollectorEndpointOptions = {}): Promise<CollectorEndpoint> {
  const endpoint = await startCollectorEndpoint(options);
  cleanUps.push(() => endpoint.close());
  return endpoint;
}

async function openTestSpool(): Promise<Spool> {
  const spool = await openSpool({ path: ':memory:', maxBytes: 1e8, maxReports: 1e5 });
  cleanUps.push(() => spool.close());
  return spool;
}

interface LogLine {
  readonly level: number;
  readonly msg: string;
}

interface Rig {
  readonly uplink: Uplink;
  readonly spool: Spool;
  readonly log: LogLine[];
}

async function startUplink(options: Partial<UplinkOptions> & { url: string }): Promise<Rig> {
  const spool = options.spool ?? (await openTestSpool());
  const log: LogLine[] = [];
  const uplink = createUplink({
    spool,
    identity: { agent: 'w1', version: '0.1.0', capture: 'ring' },
    heartbeat: () => ({ received: 7, dropped: null }),
    clock: createHastenedClock(50),
    logger: pino({ level: 'info' }, { write: (line: string) => log.push(JSON.parse(line) as LogLine) }),
    random: () => 0.5,
    connect: (url, socketOptions) => new WebSocket(url, socketOptions),
    ...options,
  });
  cleanUps.push(() => uplink.stop());
  uplink.start();
  return { uplink, spool, log };
}

const anomalies = (count: number, from = 1): ReturnType<typeof sampleAnomaly>[] =>
  Array.from({ length: count }, (_, index) => sampleAnomaly(from + index));

const waitFor = (condition: () => void): Promise<void> =>
  vi.waitFor(condition, { timeout: 15_000, interval: 5 });

describe('the uplink', () => {
  it('introduces itself, delivers what waits in order, and forgets it once it is acknowledged', async () => {
    const endpoint = await startEndpoint();
    const spool = await openTestSpool();
    const reports = anomalies(3);
    spool.append(reports);
    const { uplink } = await startUplink({ url: endpoint.url, spool });
    await waitFor(() => expect(spool.counters().pending).toBe(0));
    expect(endpoint.visits[0]?.hello).toEqual({
      type: 'hello',
      protocol: 1,
      agent: 'w1',
      version: '0.1.0',
      capture: 'ring',
      epoch: spool.epoch,
    });
    expect(endpoint.reports()).toEqual(reports);
    expect(uplink.counters()).toEqual({ connected: 1, connections: 1, failures: 0, reportsSent: 3 });
  });

  it('sends new reports when nudged', async () => {
    const endpoint = await startEndpoint();
    const { uplink, spool } = await startUplink({ url: endpoint.url });
    await waitFor(() => expect(uplink.counters().connected).toBe(1));
    spool.append(anomalies(2));
    uplink.nudge();
    await waitFor(() => expect(endpoint.visits[0]?.batches).toEqual([[1, 2]]));
  });

  it('splits by count and by size, and keeps a few batches in flight at most', async () => {
    const endpoint = await startEndpoint({ fate: () => 'keep silent' });
    const spool = await openTestSpool();
    spool.append(anomalies(MAX_BATCH_REPORTS + 1));
    for (let round = 0; round < 10; round++) {
      spool.append(Array.from({ length: 300 }, (_, index) => sampleAnomaly(index, '\u{1F980}'.repeat(500))));
    }
    const { uplink } = await startUplink({ url: endpoint.url, spool });
    await waitFor(() => expect(endpoint.visits[0]?.batches).toHaveLength(4));
    uplink.nudge();
    await waitFor(() => expect(endpoint.visits[0]?.heartbeats.length).toBeGreaterThan(2));
    const visit = endpoint.visits[0];
    expect(visit?.batches).toHaveLength(4);
    expect(visit?.batches[0]).toHaveLength(MAX_BATCH_REPORTS);
    const largest = Math.max(...(visit?.messageBytes ?? []));
    expect(largest).toBeLessThanOrEqual(MAX_MESSAGE_BYTES);
    expect(largest).toBeGreaterThan(MAX_MESSAGE_BYTES / 2);
  });

  it('sends its counters with every heartbeat', async () => {
    const endpoint = await startEndpoint();
    await startUplink({ url: endpoint.url });
    await waitFor(() => expect(endpoint.visits[0]?.heartbeats.length).toBeGreaterThanOrEqual(3));
    expect(endpoint.visits[0]?.heartbeats[0]?.counters).toEqual({ received: 7, dropped: null });
  });

  it('carries the token in the Authorization header', async () => {
    const endpoint = await startEndpoint({ token: 'secret-of-the-test' });
    const { uplink } = await startUplink({ url: endpoint.url, token: 'secret-of-the-test' });
    await waitFor(() => expect(uplink.counters().connected).toBe(1));
  });

  it('says once what to do about a refused token, never the token, and keeps trying slowly', async () => {
    const endpoint = await startEndpoint({ token: 'secret-of-the-test' });
    const { uplink, log } = await startUplink({ url: endpoint.url, token: 'another-secret' });
    await waitFor(() => expect(uplink.counters().failures).toBeGreaterThanOrEqual(2));
    expect(log.map(({ msg }) => msg)).toEqual([
      expect.stringMatching(
        /refuses the agent token \(HTTP 401\): compare the token files; reports wait/,
      ) as string,
    ]);
    expect(JSON.stringify(log)).not.toContain('secret');
    expect(endpoint.refused[0]?.authorization).toBe('Bearer another-secret');
  });

  it('flushes what was just appended when it is stopped, and leaves the rest in the spool', async () => {
    const endpoint = await startEndpoint();
    // The machine's clock: what can be flushed within the limit is what this test is about.
    const { uplink, spool } = await startUplink({ url: endpoint.url, clock: systemClock });
    await waitFor(() => expect(uplink.counters().connected).toBe(1));
    spool.append(anomalies(1200));
    await uplink.stop();
    expect(spool.counters().pending).toBe(0);
    expect(endpoint.reports()).toHaveLength(1200);
    await waitFor(() => expect(endpoint.visits[0]?.isClosed).toBe(true));
  });

  it('stops although the collector acknowledges nothing', async () => {
    const endpoint = await startEndpoint({ fate: () => 'keep silent' });
    const { uplink, spool } = await startUplink({ url: endpoint.url });
    await waitFor(() => expect(uplink.counters().connected).toBe(1));
    spool.append(anomalies(3));
    await Promise.all([uplink.stop(), uplink.stop()]);
    expect(spool.counters().pending).toBe(3);
  });
});

describe('when the collector is away', () => {
  it('the uplink logs once, counts, and delivers everything when it is back', async () => {
    const first = await startEndpoint();
    const { port, committed } = first;
    const { uplink, spool, log } = await startUplink({ url: first.url });
    await waitFor(() => expect(uplink.counters().connected).toBe(1));
    await first.close();
    spool.append(anomalies(5));
    uplink.nudge();
    await waitFor(() => expect(uplink.counters().failures).toBeGreaterThanOrEqual(4));
    expect(spool.counters().pending).toBe(5);
    const second = await startEndpoint({ port, committed });
    await waitFor(() => expect(spool.counters().pending).toBe(0));
    expect(second.reports()).toHaveLength(5);
    const messages = log.map(({ msg }) => msg);
    expect(messages).toHaveLength(3);
    expect(messages[1]).toMatch(
      /^no connection to the collector 127\.0\.0\.1:\d+: .+; reports wait in the spool$/,
    );
    expect(messages[2]).toMatch(/^connected to the collector 127\.0\.0\.1:\d+ after \d+ failures$/);
  });

  it('a collector that accepts and never answers is given up', async () => {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => sockets.add(socket.on('error', () => undefined)));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    cleanUps.push(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    const address = server.address();
    const { uplink } = await startUplink({
      url: `ws://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`,
    });
    await waitFor(() => expect(uplink.counters().failures).toBeGreaterThanOrEqual(1));
  });

  it('a collector that no longer answers pings is noticed', async () => {
    const endpoint = await startEndpoint({ answersPings: false });
    const { uplink, log } = await startUplink({ url: endpoint.url });
    await waitFor(() => expect(uplink.counters().connections).toBeGreaterThanOrEqual(2));
    expect(log.map(({ msg }) => msg)).toContainEqual(expect.stringContaining('was silent for 20 s'));
  });

  it('a collector that answers pings but acknowledges nothing gets another connection', async () => {
    const endpoint = await startEndpoint({
      fate: () => (endpoint.visits.length === 1 ? 'keep silent' : 'acknowledge'),
    });
    const { uplink, spool } = await startUplink({ url: endpoint.url });
    spool.append(anomalies(2));
    uplink.nudge();
    await waitFor(() => expect(spool.counters().pending).toBe(0));
    expect(endpoint.visits.length).toBeGreaterThanOrEqual(2);
  });
});

describe('a collector that errs', () => {
  it.each<[string, unknown, RegExp]>([
    [
      'speaks another protocol',
      { type: 'welcome', protocol: 2, lastSequence: 0 },
      /speaks protocol 2, this agent 1/,
    ],
    ['sends what is no message', { type: 'welcome' }, /invalid message \(protocol: /],
    ['acknowledges first', { type: 'ack', sequence: 0 }, /acknowledgement of what was not sent/],
  ])('and %s is left with a clear line', async (_name, welcome, expected) => {
    const endpoint = await startEndpoint({ welcome: () => welcome });
    const { uplink, spool, log } = await startUplink({ url: endpoint.url });
    spool.append(anomalies(1));
    await waitFor(() => expect(uplink.counters().failures).toBeGreaterThanOrEqual(1));
    expect(log[0]?.msg).toMatch(expected);
    expect(spool.counters().pending).toBe(1);
  });

  it('and acknowledges more than was sent deletes nothing', async () => {
    const endpoint = await startEndpoint({ fate: () => 'keep silent' });
    const { uplink, spool, log } = await startUplink({ url: endpoint.url });
    spool.append(anomalies(2));
    uplink.nudge();
    await waitFor(() => expect(endpoint.visits[0]?.batches).toHaveLength(1));
    endpoint.visits[0]?.socket.send('{"type":"ack","sequence":3}');
    await waitFor(() => expect(uplink.counters().failures).toBe(1));
    expect(spool.counters().pending).toBe(2);
    expect(log.at(-1)?.msg).toContain('acknowledgement of what was not sent');
  });

  it('and closes with a reason is quoted, without control characters', async () => {
    const endpoint = await startEndpoint();
    const { uplink, log } = await startUplink({ url: endpoint.url });
    await waitFor(() => expect(uplink.counters().connected).toBe(1));
    endpoint.visits[0]?.socket.close(1013, 'too many\u001b[2J agents');
    await waitFor(() => expect(uplink.counters().failures).toBe(1));
    expect(log.at(-1)?.msg).toContain('closed the connection (close code 1013: too many?[2J agents)');
  });

  it('and closes with the code for a wrong version is named so', async () => {
    const endpoint = await startEndpoint();
    const { uplink, log } = await startUplink({ url: endpoint.url });
    await waitFor(() => expect(uplink.counters().connected).toBe(1));
    endpoint.visits[0]?.socket.close(CLOSE_WRONG_VERSION);
    await waitFor(() => expect(uplink.counters().failures).toBe(1));
    expect(log.at(-1)?.msg).toContain('bring both to the same version');
  });

  it('by knowing more than an older copy of the spool gets the reports under a new epoch', async () => {
    const endpoint = await startEndpoint();
    const spool = await openTestSpool();
    const oldEpoch = spool.epoch;
    spool.append(anomalies(2));
    endpoint.committed.set(`w1 ${oldEpoch}`, new Map([[9, sampleAnomaly(9)]]));
    await startUplink({ url: endpoint.url, spool });
    await waitFor(() => expect(spool.counters().pending).toBe(0));
    expect(spool.epoch).not.toBe(oldEpoch);
    expect([...(endpoint.committed.get(`w1 ${spool.epoch}`)?.keys() ?? [])]).toEqual([1, 2]);
  });
});

describe('over any series of broken connections', () => {
  const fate = fc.constantFrom<BatchFate>('acknowledge', 'cut before commit', 'cut after commit');
  const step = fc.oneof(
    fc.record({ append: fc.integer({ min: 1, max: 700 }) }),
    fc.constant({ cut: true as const }),
    fc.record({ turns: fc.integer({ min: 1, max: 60 }) }),
  );

  it('nothing is lost, the order holds, and only what was not acknowledged is sent again', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 1, maxLength: 8 }),
        fc.array(fate, { maxLength: 6 }),
        async (steps, fates) => {
          const upcoming = fates.values();
          const endpoint = await startCollectorEndpoint({
            fate: () => upcoming.next().value ?? 'acknowledge',
          });
          const spool = await openSpool({ path: ':memory:', maxBytes: 1e8, maxReports: 1e5 });
          const { uplink } = await startUplink({ url: endpoint.url, spool, clock: createHastenedClock(200) });
          let appended = 0;
          for (const action of steps) {
            if ('append' in action) {
              spool.append(anomalies(action.append, appended + 1));
              appended += action.append;
              uplink.nudge();
            } else if ('cut' in action) {
              endpoint.cut();
            } else {
              for (let turn = 0; turn < action.turns; turn++) await nextTurn();
            }
          }
          await waitFor(() => expect(spool.counters().pending).toBe(0));
          await uplink.stop();
          await endpoint.close();
          spool.close();
          expect(endpoint.reports()).toEqual(anomalies(appended));
          for (const { welcomedAt, batches } of endpoint.visits) {
            const arrived = batches.flat();
            expect(arrived).toEqual(arrived.map((_, index) => welcomedAt + 1 + index));
          }
        },
      ),
      { numRuns: 30 },
    );
  });
});

describe('over TLS', () => {
  it('the uplink trusts the CA it was given, and nobody else', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-tls-'));
    cleanUps.push(() => rm(folder, { recursive: true }));
    const [certFile, keyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
    execFileSync(
      'openssl',
      [
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:prime256v1',
        '-nodes',
        '-days',
        '2',
      ].concat(
        ['-subj', '/CN=collector of the test', '-addext', 'subjectAltName=IP:127.0.0.1'],
        ['-keyout', keyFile, '-out', certFile],
      ),
      { stdio: 'ignore' },
    );
    const [cert, key] = await Promise.all([readFile(certFile, 'utf8'), readFile(keyFile, 'utf8')]);
    const endpoint = await startEndpoint({ tls: { cert, key }, token: 'secret-of-the-test' });
    const token = 'secret-of-the-test';
    const trusting = await startUplink({ url: endpoint.url, token, ca: cert });
    trusting.spool.append(anomalies(1));
    trusting.uplink.nudge();
    await waitFor(() => expect(endpoint.reports()).toHaveLength(1));
    const distrusting = await startUplink({ url: endpoint.url, token });
    await waitFor(() => expect(distrusting.uplink.counters().failures).toBeGreaterThanOrEqual(1));
    expect(distrusting.log[0]?.msg).toMatch(/certificate is not trusted \(DEPTH_ZERO_SELF_SIGNED_CERT\)/);
    expect(distrusting.uplink.counters().connections).toBe(0);
  });
});
