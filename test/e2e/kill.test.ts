import { createServer, connect } from 'node:net';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { Anomaly } from '../../common/event.ts';
import { openDatabase } from '../../common/sqlite.ts';
import { MIGRATIONS } from '../../collector/store/sqlite-schema.ts';
import { freePort } from '../support/free-port.ts';
import { HttpReceiver } from '../support/http-receiver.ts';
import { Program } from '../support/program.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { waitFor } from '../support/wait-for.ts';

const ROUNDS = 50;
/** The stranger who talks in every round. */
const REGULAR = '127.0.200.1';
const SEED = Number(process.env['PLASMAWATCH_TEST_SEED'] ?? 20261123);

const missing = process.platform !== 'linux' ? 'Linux' : process.getuid?.() === 0 ? undefined : 'root';

describe.skipIf(missing !== undefined)(
  `kill -9 (needs Linux and root${missing ? `, missing: ${missing}` : ''})`,
  () => {
    it(
      `loses no anomaly and doubles none over ${ROUNDS} rounds (seed ${SEED})`,
      { timeout: 300_000 },
      async () => {
        const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-kill-'));
        const receiver = await HttpReceiver.open();
        const node = createServer((socket) => socket.on('error', () => {}).resume());
        node.listen(0, '127.0.0.1');
        await once(node, 'listening');
        const port = (node.address() as { port: number }).port;
        const story = new Story(folder, port, receiver);
        try {
          await story.begin();
          for (let round = 0; round < ROUNDS; round++) await story.playRound(round);
          await story.settle();
          const told = await story.end();
          expect(told.lost).toEqual([]);
          expect(told.doubled).toEqual([]);
          expect(told.unseenStrangers).toEqual([]);
          expect(told.strangersWithSeveralIncidents).toEqual([]);
          expect(told.notifications).toEqual(told.incidents);
          // At least the new stranger of each round that the agent survived, twice the regular one.
          expect(told.durable).toBeGreaterThan(ROUNDS / 2);
        } finally {
          await story.abandon();
          node.close();
          await receiver.close();
          await rm(folder, { recursive: true });
        }
      },
    );
  },
);

type Victim = 'agent' | 'collector' | 'both';

/** An agent and a collector that are killed again and again while strangers talk to a member. */
class Story {
  readonly #random = seededRandom(SEED);
  readonly #folder: string;
  readonly #port: number;
  readonly #receiver: HttpReceiver;
  /** Every anomaly that an agent called durable: `id count bytes`. */
  readonly #durable: string[] = [];
  /** Strangers who talked while an agent was capturing, and for long enough after. */
  readonly #seen = new Set<string>();
  #agent: Program | undefined;
  #collector: Program | undefined;
  #collectorPort = 0;

  constructor(folder: string, port: number, receiver: HttpReceiver) {
    this.#folder = folder;
    this.#port = port;
    this.#receiver = receiver;
  }

  async begin(): Promise<void> {
    this.#collectorPort = await freePort();
    const write = (name: string, value: unknown): Promise<void> =>
      writeFile(join(this.#folder, name), typeof value === 'string' ? value : JSON.stringify(value));
    await write('token', 'a-token-for-this-test');
    await write('secret', `whsec_${Buffer.from('a signing key for this test').toString('base64')}`);
    await write('rules.yaml', {
      version: 1,
      services: { 'object-manager': this.#port },
      groups: { cluster: { hosts: ['127.0.0.1'] } },
      allow: [{ name: 'nodes exchange objects', from: 'cluster', to: 'object-manager' }],
    });
    await write('agent.yaml', {
      node: 'w1',
      rules: join(this.#folder, 'rules.yaml'),
      collector: { url: `ws://127.0.0.1:${this.#collectorPort}`, tokenFile: join(this.#folder, 'token') },
      capture: { interface: 'lo' },
      spool: { path: join(this.#folder, 'spool.db') },
    });
    await write('collector.yaml', {
      listen: { port: this.#collectorPort },
      agentTokenFile: join(this.#folder, 'token'),
      store: { path: join(this.#folder, 'collector.db') },
      receivers: [
        {
          name: 'ops',
          type: 'webhook',
          url: this.#receiver.url('/hook'),
          secretFile: join(this.#folder, 'secret'),
        },
      ],
    });
    await Promise.all([this.#startCollector(), this.#startAgent()]);
  }

  /** A new stranger and the regular one talk; the victim is killed at a random moment around it, and comes back. */
  async playRound(round: number): Promise<void> {
    const victim = (['agent', 'collector', 'both'] as const)[Math.floor(this.#random() * 3)] ?? 'both';
    const stranger = `127.0.201.${round + 1}`;
    const killed = this.#killAfter(victim, this.#random() * 150);
    await delay(this.#random() * 50);
    await Promise.all([this.#talkAs(stranger), this.#talkAs(REGULAR)]);
    if (victim === 'collector') this.#seen.add(stranger);
    await killed;
    if (victim !== 'collector') await this.#startAgent();
    if (victim !== 'agent') await this.#startCollector();
  }

  /** Waits until the collector has all that the agent has, and the receiver all that the collector has to tell. */
  async settle(): Promise<void> {
    const last = '127.0.202.1';
    await this.#talkAs(last);
    this.#seen.add(last);
    await waitFor(
      () => this.#receiver.requests.some(({ body }) => body.includes(last)),
      'the last incident',
      60_000,
    );
  }

  async end() {
    await this.#stopAgent();
    await waitFor(() => this.#isOutboxEmpty(), 'an empty outbox', 60_000);
    await this.#collector?.stop();
    this.#collector = undefined;
    const reports = await this.#read<{ report: string }>('SELECT report FROM reports');
    const stored = reports
      .map(({ report }) => JSON.parse(report) as Anomaly)
      .filter(({ type }) => type === 'anomaly')
      .map(fingerprint);
    const incidents = (await this.#read<{ incident: string }>('SELECT incident FROM incidents')).map(
      ({ incident }) => JSON.parse(incident) as { peer: string },
    );
    const peers = incidents.map(({ peer }) => peer);
    const opened = new Map(
      this.#receiver.requests
        .filter(({ body }) => body.includes('incident.opened'))
        .map(({ headers, body }) => [String(headers['webhook-id']), peerOf(body)]),
    );
    return {
      lost: this.#durable.filter((anomaly) => !stored.includes(anomaly)),
      doubled: stored.filter((anomaly, index) => stored.indexOf(anomaly) !== index),
      unseenStrangers: [...this.#seen, REGULAR].filter((stranger) => !peers.includes(stranger)),
      strangersWithSeveralIncidents: peers.filter((peer, index) => peers.indexOf(peer) !== index),
      incidents: peers.toSorted(),
      notifications: [...opened.values()].toSorted(),
      durable: this.#durable.length,
    };
  }

  /** Ends what a failed test left running. */
  async abandon(): Promise<void> {
    await this.#agent?.kill();
    await this.#collector?.kill();
  }

  async #killAfter(victim: Victim, delayMs: number): Promise<void> {
    await delay(delayMs);
    if (victim !== 'collector') {
      await this.#agent?.kill();
      this.#keepDurable();
    }
    if (victim !== 'agent') await this.#collector?.kill();
  }

  async #startAgent(): Promise<void> {
    this.#agent = new Program(['agent', '--json', '--config', join(this.#folder, 'agent.yaml')]);
    await this.#agent.said('"capturing"');
  }

  async #startCollector(): Promise<void> {
    this.#collector = new Program(['collector', '--config', join(this.#folder, 'collector.yaml')]);
    await this.#collector.said('listening on');
  }

  async #stopAgent(): Promise<void> {
    const agent = this.#agent;
    this.#agent = undefined;
    const status = await agent?.stop();
    if (status !== 1) throw new Error(`the agent ended with status ${status}: ${agent?.stderr.join('\n')}`);
    for (const line of agent?.stdout ?? []) this.#durable.push(fingerprint(JSON.parse(line) as Anomaly));
  }

  #keepDurable(): void {
    for (const line of this.#agent?.stdout ?? [])
      this.#durable.push(fingerprint(JSON.parse(line) as Anomaly));
  }

  async #talkAs(address: string): Promise<void> {
    const socket = connect({ host: '127.0.0.1', port: this.#port, localAddress: address });
    await once(socket, 'connect');
    socket.end('hello');
    await once(socket, 'close');
  }

  async #isOutboxEmpty(): Promise<boolean> {
    return (await this.#read("SELECT id FROM outbox WHERE state = 'pending'")).length === 0;
  }

  async #read<Row>(sql: string): Promise<Row[]> {
    const database = await openDatabase(join(this.#folder, 'collector.db'), MIGRATIONS);
    try {
      return database.prepare(sql).all() as Row[];
    } finally {
      database.close();
    }
  }
}

function fingerprint({ id, count, bytes, last }: Anomaly): string {
  return `${id} ${count} ${bytes} ${last}`;
}

function peerOf(body: string): string {
  const { data } = JSON.parse(body) as { data: { incident?: { peer: string }; peer?: string } };
  return data.incident?.peer ?? data.peer ?? '';
}
