/**
 * Attacks on the collector's port while agents report: what is sent is refused, bounded and counted, and after each
 * attack every agent has delivered over the connection that it had before. A certificate of somebody else is in
 * mutual-tls.test.ts. Attackers come from other loopback addresses than the agents: limits go by address.
 */
import { connect, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { INGEST_PATH, MAX_MESSAGE_BYTES } from '../../common/protocol.ts';
import { AGENT_TOKEN, BesiegedCollector } from '../support/besieged-collector.ts';
import { TEST_EPOCH } from '../support/collector-parts.ts';
import { textFrame, upgrade } from '../support/raw-web-socket.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { waitFor } from '../support/wait-for.ts';

const HEALTHY_AGENTS = 20;
const CONNECTIONS = 10_000;
/** So many are opened before the next; the kernel queues no more for a listener. */
const WAVE = 500;
/** What limits.maxVisitors is when nobody sets it. */
const MAX_VISITORS = 1000;
const AUTHORIZED = { authorization: `Bearer ${AGENT_TOKEN}` };

describe.skipIf(process.platform !== 'linux')('under attack (needs Linux)', () => {
  let collector: BesiegedCollector;
  let agents = HEALTHY_AGENTS;
  let delivered: number;
  let intruders = 0;
  const sockets: { destroy(): unknown }[] = [];

  beforeAll(async () => {
    collector = await BesiegedCollector.start(HEALTHY_AGENTS);
    delivered = HEALTHY_AGENTS;
  });
  afterEach(async () => {
    await collector.deliver();
    delivered += agents;
    expect(await collector.reports()).toBe(delivered);
    expect(collector.agentFailures()).toBe(0);
    for (const socket of sockets.splice(0)) socket.destroy();
  });
  afterAll(() => collector.stop());

  /** A connection that is kept until the end of the test; resolves when it is there, or was cut off at once. */
  const open = async (localAddress: string): Promise<Socket> => {
    const socket = connect({ host: '127.0.0.1', port: collector.port, localAddress });
    sockets.push(socket);
    socket.on('error', () => {}).resume();
    await new Promise((resolve) => socket.once('connect', resolve).once('close', resolve));
    return socket;
  };
  const openAll = async (count: number, addressOf: (index: number) => string): Promise<Socket[]> => {
    const opened: Socket[] = [];
    for (let from = 0; from < count; from += WAVE) {
      const wave = Array.from({ length: Math.min(WAVE, count - from) }, (_, index) =>
        open(addressOf(from + index)),
      );
      opened.push(...(await Promise.all(wave)));
    }
    return opened;
  };
  const stillOpen = (opened: readonly Socket[]): number => opened.filter(({ closed }) => !closed).length;

  /** An upgrade with the agents' token from an attacker's address, over which a hello and these bytes are sent. */
  const intrude = async (name: string, ...bytes: readonly Buffer[]) => {
    const options = { localAddress: `127.0.1.${1 + (intruders++ % 20)}` };
    const { socket } = await upgrade(collector.url + INGEST_PATH, AUTHORIZED, options);
    if (socket === undefined) throw new Error('expected an open connection');
    sockets.push(socket);
    socket.resume();
    const closed = new Promise((resolve) => socket.once('close', resolve));
    for (const chunk of [hello(name), ...bytes]) socket.write(chunk);
    return { socket, closed };
  };
  const hello = (agent: string): Buffer =>
    textFrame(
      JSON.stringify({ type: 'hello', protocol: 1, agent, epoch: TEST_EPOCH, version: '1', capture: 'ring' }),
    );

  it('refuses who has no token or a wrong one', async () => {
    const url = collector.url + INGEST_PATH;
    for (let index = 0; index < 50; index++) {
      const localAddress = `127.0.2.${index % 10}`;
      expect((await upgrade(url, {}, { localAddress })).status).toBe(401);
      const wrong = { authorization: `Bearer ${AGENT_TOKEN}${index}` };
      expect((await upgrade(url, wrong, { localAddress })).status).toBe(401);
    }
    expect(await collector.refused('wrong-token')).toBe(100);
  });

  it('answers 429 to who tries tokens of the API, and answers others', async () => {
    const statuses: number[] = [];
    const waits: number[] = [];
    for (let index = 0; index < 60; index++) {
      const answer = await collector.ask('/api/agents', `people-only-${index}`, '127.0.3.1');
      statuses.push(answer.status);
      if (answer.status === 429) waits.push(Number(answer.headers['retry-after']));
    }
    expect(new Set(statuses)).toEqual(new Set([401, 429]));
    expect(Math.min(...waits)).toBeGreaterThan(0);
    expect((await collector.ask('/api/agents', undefined, '127.0.3.2')).status).toBe(200);
    const counted = [
      await collector.refused('wrong-api-token'),
      await collector.refused('too-many-requests'),
    ];
    expect(counted).toEqual([401, 429].map((status) => statuses.filter((other) => other === status).length));
  });

  it('ends the connection of an intruder whose message is too long, has no end, or comes in pieces', async () => {
    const claim = Buffer.from('81ff000000ffffffffff00000000', 'hex');
    const tooLong = await Promise.all([
      intrude('long', textFrame('x'.repeat(MAX_MESSAGE_BYTES + 1))),
      intrude('endless', claim),
    ]);
    // The rest of the message: a frame without an opcode, masked with zeros.
    const rest = Buffer.from('80810000000020', 'hex');
    const inPieces = await intrude('pieces', textFrame('{', { isLast: false }), rest);
    await Promise.all([...tooLong, inPieces].map(({ closed }) => closed));
    expect(await collector.refused('too-long')).toBe(2);
    expect(await collector.refused('bad-message')).toBe(1);
  });

  it('ends the connections of two hundred intruders who send anything else', async () => {
    const before = await collector.refused('bad-message');
    const random = seededRandom(20_261_125);
    const rounds = Array.from({ length: 200 }, async (_, round) => {
      const bytes = Buffer.from(Array.from({ length: 64 }, () => Math.floor(random() * 256)));
      const text = round % 2 === 0 ? bytes.toString('latin1') : `{"type":"reports","reports":[${round}]}`;
      const { closed } = await intrude(`intruder-${round}`, textFrame(text));
      await closed;
    });
    await Promise.all(rounds);
    expect(await collector.refused('bad-message')).toBe(before + 200);
  });

  it('reads an intruder slower who sends as fast as it can', async () => {
    const { socket } = await intrude('flood');
    const heartbeat = textFrame('{"type":"heartbeat","counters":{}}');
    for (let index = 0; index < 1500; index++) socket.write(heartbeat);
    await eventually(async () => {
      expect((await collector.metrics())('sessions_slowed_total')).toBeGreaterThan(0);
    });
    await collector.deliver();
    delivered += agents;
  });

  it('cuts off who sends requests without an end, fast or slowly', async () => {
    const [slowBefore, badBefore] = [await collector.refused('slow'), await collector.refused('bad-request')];
    const slow = await openAll(50, (index) => `127.0.4.${index % 5}`);
    for (const socket of slow.slice(25)) socket.write('GET /api/agents HTTP/1.1\r\nHost: localhost\r\nX-');
    const endless = await openAll(5, () => '127.0.5.1');
    for (const socket of endless) socket.write(`GET / HTTP/1.1\r\n${'X-Header: endless\r\n'.repeat(2000)}`);
    await waitFor(() => stillOpen(endless) === 0, 'the end of the fast');
    expect(await collector.refused('bad-request')).toBe(badBefore + 5);
    await collector.deliver();
    delivered += agents;
    // A byte now and then is no reason to wait longer.
    const drip = setInterval(() => slow.slice(25).forEach((socket) => socket.write('a')), 500);
    await waitFor(() => stillOpen(slow) === 0, 'the end of the slow', 40_000);
    clearInterval(drip);
    expect(await collector.refused('slow')).toBe(slowBefore + 50);
  }, 60_000);

  it.each([
    ['one address', 1, 100],
    ['a hundred addresses', 100, MAX_VISITORS],
  ])(
    `holds few of ${CONNECTIONS} silent connections of %s, counts the others, and lets an agent in`,
    async (_name, addresses, room) => {
      const counted = (): Promise<number> => collector.refused('crowded-out', 'connecting-too-often', 'slow');
      const [before, socketsBefore] = [await counted(), await collector.sockets()];
      let most = 0;
      const attackers: Socket[] = [];
      for (let tenth = 0; tenth < 10; tenth++) {
        attackers.push(...(await openAll(CONNECTIONS / 10, (index) => `127.0.6.${1 + (index % addresses)}`)));
        most = Math.max(most, await collector.sockets());
        if (tenth === 5) {
          await collector.addAgent(`newcomer-${agents++}`);
          await collector.deliver();
          delivered += agents;
        }
      }
      // The room, the agents, and a few that the kernel has just handed over or that are about to go.
      expect(most - socketsBefore).toBeLessThanOrEqual(room + WAVE);
      // The one that asks is a visitor too.
      expect((await collector.metrics())('visitors')).toBeLessThanOrEqual(room + 1);
      // Each of them is counted, or still open.
      await eventually(async () => {
        expect((await counted()) - before + stillOpen(attackers)).toBe(CONNECTIONS);
      });
      expect(stillOpen(attackers)).toBeLessThanOrEqual(room);
    },
    90_000,
  );
});

/** Looks seldom: the collector limits the connections of whoever looks, too. */
function eventually(look: () => Promise<void>): Promise<void> {
  return vi.waitFor(look, { timeout: 40_000, interval: 300 });
}
