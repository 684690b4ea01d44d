/**
 * One agent's connection, after the upgrade: hello, then reports and heartbeats.
 *
 * Messages are handled one at a time and to the end: the store is synchronous, so the socket is not read faster
 * than reports reach the disk, and an acknowledgement leaves only after the commit.
 */
import { z } from 'zod';
import type { RawData, WebSocket } from 'ws';
import type { Clock, Timer } from '../../common/clock.ts';
import type { Logger } from '../../common/log.ts';
import {
  agentMessageSchema,
  CLOSE_POLICY_VIOLATION,
  CLOSE_WRONG_VERSION,
  MAX_MESSAGE_BYTES,
  parseMessage,
  PROTOCOL_VERSION,
  type AgentMessage,
  type CollectorMessage,
  type Hello,
  type Reports,
} from '../../common/protocol.ts';
import type { AgentClocks, ClockMeter } from '../fleet/agent-clocks.ts';
import type { RulesDistributor, RulesSubscription } from '../fleet/rules-distributor.ts';
import type { RefusalReason, Refusals } from '../edge/refusals.ts';
import type { Credential, Enrolments } from '../fleet/enrolments.ts';
import type { FleetWatch } from '../fleet/watch.ts';
import type { SharedViews } from '../membership/shared-views.ts';
import type { Follower } from '../membership/view.ts';
import type { Recorder } from '../incident/recorder.ts';
import type { CollectorMetrics } from '../metrics.ts';
import type { StoreGuard } from '../store/health.ts';
import type { Store } from '../store/store.ts';
import type { Heartbeats } from './heartbeats.ts';
import { Pace, type PaceLimits, type WorkShares } from './pace.ts';

/** A peer that has not said hello by then is no agent. */
export const HELLO_TIMEOUT_MS = 10_000;
/** A ping is sent this often; a peer that said nothing at all for two of these is gone. */
export const PING_INTERVAL_MS = 30_000;
/** Acknowledgements that may wait for a peer that does not read, behind one view of the cluster; bytes. */
const MAX_UNREAD_BYTES = MAX_MESSAGE_BYTES + 256 * 1024;
/** A peer that does not answer our close frame is cut off after this. */
export const CLOSE_TIMEOUT_MS = 2000;
/** Close codes of RFC 6455, section 7.4.1, and of the IANA registry. */
const CLOSE_GOING_AWAY = 1001;
const CLOSE_INTERNAL_ERROR = 1011;
const CLOSE_TRY_AGAIN_LATER = 1013;

/** Enough of a hello to see which protocol the peer speaks: another version's hello may look different. */
const versionSchema = z.looseObject({ type: z.literal('hello'), protocol: z.number().int() });

export interface SessionOptions {
  readonly socket: WebSocket;
  /** The peer's address, for logs. */
  readonly from: string;
  /** Where the agent is, as far as that tells agents apart. */
  readonly place: string;
  /** The address that it connects from, and the one of this machine that it connects to; undefined where a proxy hides it. */
  readonly address?: string | undefined;
  readonly reachedAt?: string | undefined;
  /** The agent whose certificate the peer has; undefined where none is asked for. */
  readonly certifiedAgent: string | undefined;
  /** What it presented. */
  readonly credential: Credential;
  readonly enrolments: Enrolments;
  readonly store: Store;
  readonly guard: StoreGuard;
  readonly recorder: Recorder;
  readonly fleet: FleetWatch;
  readonly heartbeats: Heartbeats;
  readonly sharedViews: SharedViews;
  readonly clocks: AgentClocks;
  /** Undefined where agents have rules of their own. */
  readonly rules: RulesDistributor | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: CollectorMetrics;
  readonly refusals: Refusals;
  readonly limits: PaceLimits;
  readonly work: WorkShares;
  /** Whether an agent of this name may come in; ends an older session of the same name. */
  readonly admit: (name: string, session: Session) => boolean;
  readonly onEnd: (session: Session) => void;
}

export class Session {
  readonly #options: SessionOptions;
  readonly #helloTimer: Timer;
  readonly #pingTimer: Timer;
  readonly #pace: Pace;
  #closeTimer: Timer | undefined;
  #hello: Hello | undefined;
  #follower: Follower | undefined;
  #clockMeter: ClockMeter | undefined;
  #rules: RulesSubscription | undefined;
  #isAlive = true;
  #isEnding = false;

  constructor(options: SessionOptions) {
    this.#options = options;
    const { socket, clock } = options;
    this.#pace = new Pace(options);
    socket.on('message', (data, isBinary) => this.#receive(data, isBinary));
    socket.on('ping', (data) => this.#answerPing(data));
    socket.on('pong', (data) => this.#isInPace(data.length) && this.#noteLife());
    // The close that follows an error tells it all; an unhandled 'error' would end the process.
    socket.on('error', (error) => this.#noteSocketError(error));
    socket.on('close', () => this.#end());
    this.#helloTimer = clock.after(HELLO_TIMEOUT_MS, () => this.#refuse('no-hello'));
    this.#pingTimer = clock.every(PING_INTERVAL_MS, () => this.#ping());
  }

  /** The agent's name, once it said hello. */
  get agent(): string | undefined {
    return this.#hello?.agent;
  }

  /** A newer session of the same agent takes over. */
  replace(): void {
    this.#options.refusals.note('replaced', this.#peer());
    this.#close(CLOSE_GOING_AWAY, 'replaced by a newer session');
  }

  /** The agent was declared gone for good. */
  retire(): void {
    this.#close(CLOSE_POLICY_VIOLATION, 'the agent was retired');
  }

  /** The collector stops. */
  stop(): void {
    this.#close(CLOSE_GOING_AWAY, 'the collector stops');
  }

  /** Ends the connection without a word. */
  terminate(): void {
    this.#options.socket.terminate();
  }

  #receive(data: RawData, isBinary: boolean): void {
    if (!this.#isInPace(lengthOf(data))) return;
    const { clock } = this.#options;
    const startMs = clock.monotonic();
    this.#handle(data, isBinary);
    this.#pace.noteWork(clock.monotonic() - startMs);
  }

  #handle(data: RawData, isBinary: boolean): void {
    this.#noteLife();
    if (isBinary) {
      this.#refuse('bad-message', 'not a text message');
      return;
    }
    const text = asText(data);
    if (this.#hello === undefined && !this.#hasRightVersion(text)) return;
    const parsed = parseMessage(agentMessageSchema, text);
    if (!parsed.ok) {
      this.#refuse('bad-message', parsed.problem);
      return;
    }
    // Where the store fails nothing is acknowledged, so the agent keeps its reports and comes back.
    if (!this.#options.guard(() => this.#take(parsed.message))) {
      this.#close(CLOSE_INTERNAL_ERROR, 'the store failed');
    }
  }

  /** Whether what came is still to be looked at. */
  #isInPace(bytes: number): boolean {
    if (this.#isEnding) return false;
    if (this.#pace.note(bytes)) return true;
    this.#refuse('too-fast', 'too many messages at once');
    return false;
  }

  #noteLife(): void {
    this.#isAlive = true;
    if (this.agent !== undefined) this.#options.fleet.heard(this.agent);
  }

  #answerPing(data: Buffer): void {
    if (!this.#isInPace(data.length)) return;
    this.#noteLife();
    if (this.#hasRoom()) this.#options.socket.pong(data);
  }

  #hasRightVersion(text: string): boolean {
    const parsed = parseMessage(versionSchema, text);
    if (!parsed.ok || parsed.message.protocol === PROTOCOL_VERSION) return true;
    this.#options.refusals.note('wrong-version', this.#peer());
    this.#close(CLOSE_WRONG_VERSION, `this collector speaks protocol ${PROTOCOL_VERSION}`);
    return false;
  }

  #take(message: AgentMessage): void {
    if (this.#hello === undefined) {
      if (message.type === 'hello') this.#greet(message);
      else this.#refuse('no-hello', 'hello comes first');
      return;
    }
    const { heartbeats, fleet, sharedViews } = this.#options;
    const { agent } = this.#hello;
    switch (message.type) {
      case 'hello':
        this.#refuse('bad-message', 'a second hello');
        return;
      case 'heartbeat':
        heartbeats.note(agent, message);
        this.#rules?.runs(message.rules?.version ?? null);
        fleet.noteCounters(agent, message.counters);
        return;
      case 'goodbye':
        // What it said last must not be written over what follows from it.
        heartbeats.write();
        fleet.stopped(agent);
        return;
      case 'time':
        if (this.#clockMeter?.take(message) === false)
          this.#refuse('bad-message', 'a time that was not asked for');
        return;
      case 'follow-rules':
        this.#rules?.leave();
        this.#rules = this.#options.rules?.follow(message, (rules) => this.#handOut(rules));
        return;
      case 'members':
        if (this.#follower !== undefined) sharedViews.report(this.#follower, message);
        return;
      case 'follow-members':
        if (this.#follower !== undefined) sharedViews.follow(this.#follower, message.cluster, message.heads);
        return;
      case 'reports':
        this.#record(this.#hello, message.reports);
    }
  }

  /** An agent speaks for its own node: whoever holds one's token or certificate cannot accuse or clear another. */
  #record({ agent, epoch }: Hello, reports: Reports['reports']): void {
    if (reports.some(({ report }) => report.node !== agent)) {
      this.#refuse('wrong-name', 'a report of another node');
      return;
    }
    if (reports.some(({ report }) => report.type === 'anomaly' && report.kind === 'missing')) {
      this.#refuse('bad-message', 'only the collector reports that an agent is missing');
      return;
    }
    this.#options.recorder.record(agent, epoch, reports);
    // Everything up to the highest sequence of the batch is on the disk now, repeats included.
    this.#send({ type: 'ack', sequence: Math.max(...reports.map(({ sequence }) => sequence)) });
  }

  #greet(hello: Hello): void {
    const { store, fleet, clock, clocks, logger, from, certifiedAgent, admit, refusals } = this.#options;
    if (certifiedAgent !== undefined && certifiedAgent !== hello.agent) {
      this.#refuse('wrong-certificate', "the certificate is not this agent's");
      return;
    }
    if (!this.#options.enrolments.admits(hello, this.#options.credential)) {
      this.#refuse('wrong-name', 'the name is bound to another key');
      return;
    }
    if (!admit(hello.agent, this)) {
      refusals.note('too-many-agents', from);
      this.#close(CLOSE_TRY_AGAIN_LATER, 'too many agents');
      return;
    }
    this.#hello = hello;
    this.#pace.belongTo(hello.agent);
    this.#follower = {
      agent: hello.agent,
      isBound: certifiedAgent !== undefined || this.#options.credential.kind !== 'shared',
      from: this.#options.place,
      address: this.#options.address,
      reachedAt: this.#options.reachedAt,
      send: (message) => this.#handOut(message),
    };
    this.#helloTimer.cancel();
    // Before the store is asked, which may fail: an agent that is heard is not missing.
    fleet.heard(hello.agent);
    const lastSequence = store.greetAgent({ ...hello, name: hello.agent }, clock.now());
    logger.info({ agent: hello.agent, from, version: hello.version }, 'agent connected');
    this.#clockMeter = clocks.open(hello.agent, (question) => this.#send(question));
    // Before the welcome, so that the answer is here before the first report.
    this.#clockMeter.ask();
    this.#send({ type: 'welcome', protocol: PROTOCOL_VERSION, lastSequence });
  }

  #ping(): void {
    if (!this.#isAlive) {
      this.#options.refusals.note('silent', this.#peer());
      this.terminate();
      return;
    }
    this.#isAlive = false;
    this.#options.socket.ping();
    this.#clockMeter?.ask();
  }

  /** Sends a view, unless the peer has not read the last one yet. */
  #handOut(message: CollectorMessage): boolean {
    if (this.#isEnding || this.#options.socket.bufferedAmount > 0) return false;
    this.#send(message);
    return true;
  }

  #send(message: CollectorMessage): void {
    if (this.#hasRoom()) this.#options.socket.send(JSON.stringify(message));
  }

  /** Ends the connection of a peer that does not read what it asks for. */
  #hasRoom(): boolean {
    const { socket, refusals } = this.#options;
    if (socket.bufferedAmount <= MAX_UNREAD_BYTES) return true;
    if (!this.#isEnding) refusals.note('does-not-read', this.#peer());
    this.#isEnding = true;
    this.terminate();
    return false;
  }

  #refuse(reason: RefusalReason, problem?: string): void {
    this.#options.refusals.note(reason, this.#peer(), problem);
    // A close frame takes 123 bytes of reason at most (RFC 6455, section 5.5).
    this.#close(CLOSE_POLICY_VIOLATION, (problem ?? reason).replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 120));
  }

  #close(code: number, reason: string): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#options.socket.close(code, reason);
    this.#closeTimer = this.#options.clock.after(CLOSE_TIMEOUT_MS, () => this.terminate());
  }

  #noteSocketError(error: Error): void {
    const isTooLong = 'code' in error && error.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH';
    this.#options.refusals.note(
      isTooLong ? 'too-long' : 'bad-message',
      this.#peer(),
      'a faulty WebSocket frame',
    );
  }

  #end(): void {
    this.#isEnding = true;
    if (this.#follower !== undefined) this.#options.sharedViews.leave(this.#follower);
    this.#clockMeter?.close();
    this.#rules?.leave();
    this.#helloTimer.cancel();
    this.#pingTimer.cancel();
    this.#closeTimer?.cancel();
    this.#pace.end();
    this.#options.onEnd(this);
  }

  #peer(): string {
    return this.agent ?? this.#options.from;
  }
}

function lengthOf(data: RawData): number {
  if (Array.isArray(data)) return data.reduce((sum, { length }) => sum + length, 0);
  return data.byteLength;
}

function asText(data: RawData): string {
  if (Array.isArray(data)) return Buffer.concat(data).toString('utf8');
  return Buffer.isBuffer(data) ? data.toString('utf8') : Buffer.from(data).toString('utf8');
}
