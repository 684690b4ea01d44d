/**
 * One connection to the collector, from the opening of the socket to its end.
 *
 * connecting → (socket open, hello sent) → greeting → (welcome) → ready → ended. Any fault ends the session; who
 * made it opens the next one.
 */
import type { RawData, WebSocket } from 'ws';
import type { Clock, Timer } from '../../common/clock.ts';
import { messageOf, PlasmawatchError, systemCodeOf } from '../../common/errors.ts';
import {
  CLOSE_POLICY_VIOLATION,
  CLOSE_WRONG_VERSION,
  collectorMessageSchema,
  MAX_BATCH_REPORTS,
  MAX_MESSAGE_BYTES,
  parseMessage,
  PROTOCOL_VERSION,
  type AgentMessage,
  type CollectorMessage,
  type Heartbeat,
  type Hello,
} from '../../common/protocol.ts';
import type { MembersLink } from '../membership/shared.ts';
import type { AgentKey } from './agent-key.ts';
import type { RulesLink } from './rules-link.ts';
import type { Spool } from './spool.ts';

/** From the start of the connection to the collector's welcome. */
const WELCOME_LIMIT_MS = 15_000;
const PING_INTERVAL_MS = 5_000;
/** With the interval above, a collector that is gone is noticed within 25 s. */
const MAX_UNANSWERED_PINGS = 4;
/** A collector that answers pings but acknowledges nothing is stuck; another connection may free it. */
const ACKNOWLEDGEMENT_LIMIT_MS = 60_000;
/** What `ws` says when a connection ended without a close frame (RFC 6455, section 7.4.1). */
const CLOSE_WITHOUT_FRAME = 1006;
/** After our close frame, for the collector's. */
const CLOSE_LIMIT_MS = 1_000;
/** Bounds what is in the socket's memory: four messages of at most 1 MiB. */
const MAX_BATCHES_IN_FLIGHT = 4;
/** What a report costs in a message besides its own text: sequence number, keys and punctuation. */
const REPORT_OVERHEAD_BYTES = 64;
const MAX_BATCH_TEXT_BYTES = MAX_MESSAGE_BYTES - (MAX_BATCH_REPORTS + 1) * REPORT_OVERHEAD_BYTES;

/**
 * Why a session ended.
 * - `unreachable`: no connection came about, or it broke
 * - `refused`: the collector does not take our token, path or protocol: a person has to act
 * - `protocol`: the collector sent what it must not
 * - `spool`: our own disk failed
 * - `stopped`: we closed it
 */
export type SessionEndKind = 'unreachable' | 'refused' | 'protocol' | 'spool' | 'stopped';

export interface SessionEnd {
  readonly kind: SessionEndKind;
  /** One line for the log, without secrets. */
  readonly reason: string;
}

export interface SessionOptions {
  /** A socket that has just been made; the session owns it from here. */
  readonly socket: WebSocket;
  readonly spool: Spool;
  readonly identity: Pick<Hello, 'agent' | 'version' | 'capture'>;
  /** The agent's own; confirmed by the welcome. */
  readonly key?: AgentKey | undefined;
  readonly heartbeat: () => Heartbeat['counters'];
  readonly heartbeatIntervalMs: number;
  /** Who takes the cluster's views that the collector hands out, and offers ours. */
  readonly members?: MembersLink | undefined;
  readonly rules?: RulesLink | undefined;
  readonly clock: Clock;
  /** Called when the collector has said welcome. */
  readonly ready: () => void;
  /** Called when a batch went out. */
  readonly sent: (reports: number) => void;
  /** Called once, when the socket is closed. */
  readonly ended: (end: SessionEnd) => void;
}

export class Session {
  readonly #options: SessionOptions;
  readonly #timers: Timer[] = [];
  #acknowledgementTimer: Timer | undefined;
  #state: 'connecting' | 'greeting' | 'ready' | 'ended' = 'connecting';
  #sentUpTo = 0;
  /** The last sequence number of each batch that is not acknowledged, oldest first. */
  #inFlight: number[] = [];
  #unansweredPings = 0;
  #onDrained: (() => void) | undefined;
  #cause: SessionEnd | undefined;

  constructor(options: SessionOptions) {
    this.#options = options;
    const { socket, clock } = options;
    socket.on('open', () => this.#greet());
    socket.on('message', (data, isBinary) => this.#receive(data, isBinary));
    socket.on('pong', () => (this.#unansweredPings = 0));
    socket.on('error', (error) => this.#end('unreachable', describeFault(error)));
    socket.on('close', (code, reason) => {
      this.#end(...describeClose(code, reason));
      if (this.#cause !== undefined) options.ended(this.#cause);
    });
    socket.on('unexpected-response', (_request, response) =>
      this.#end('refused', describeStatus(response.statusCode ?? 0, this.#options.key !== undefined)),
    );
    this.#timers.push(
      clock.after(WELCOME_LIMIT_MS, () => {
        if (this.#state !== 'ready')
          this.#end('unreachable', `no welcome within ${WELCOME_LIMIT_MS / 1000} s`);
      }),
    );
  }

  /** Sends what waits in the spool, as far as the collector keeps up. */
  pump(): void {
    while (this.#state === 'ready' && this.#inFlight.length < MAX_BATCHES_IN_FLIGHT) {
      if (!this.#sendBatch()) break;
    }
    if (this.#state === 'ready' && this.#inFlight.length === 0) this.#onDrained?.();
  }

  /** Sends and waits for acknowledgements until nothing waits or `limitMs` is over, then says goodbye and closes. */
  stop(limitMs: number): void {
    if (this.#options.spool.counters().pending === 0) {
      this.#close();
      return;
    }
    this.#onDrained = () => this.#close();
    this.#timers.push(this.#options.clock.after(limitMs, () => this.#close()));
    this.pump();
  }

  #greet(): void {
    const { identity, key, spool } = this.#options;
    const keyDigest = key?.newDigest;
    this.#state = 'greeting';
    const hello: Hello = {
      type: 'hello',
      protocol: PROTOCOL_VERSION,
      ...identity,
      epoch: spool.epoch,
      ...(keyDigest === undefined ? {} : { keyDigest }),
    };
    this.#options.socket.send(JSON.stringify(hello));
  }

  #receive(data: RawData, isBinary: boolean): void {
    if (this.#state === 'ended') return;
    this.#unansweredPings = 0;
    if (isBinary) return this.#violation('a binary message');
    const text = Buffer.isBuffer(data) ? data.toString('utf8') : '';
    const parsed = parseMessage(collectorMessageSchema, text);
    if (!parsed.ok) return this.#violation(parsed.problem);
    this.#guardSpool(() => this.#take(parsed.message));
  }

  #take(message: CollectorMessage): void {
    if (message.type === 'welcome') this.#welcome(message.protocol, message.lastSequence);
    else if (message.type === 'ack') this.#acknowledge(message.sequence);
    else if (message.type === 'ask-time') this.#tellTime(message.originMs);
    else if (message.type === 'rules') this.#options.rules?.take(message);
    else this.#options.members?.take(message);
  }

  #tellTime(originMs: number): void {
    const { socket, clock } = this.#options;
    const nowMs = Math.floor(clock.now());
    const answer: AgentMessage = { type: 'time', originMs, receivedMs: nowMs, sentMs: nowMs };
    socket.send(JSON.stringify(answer));
  }

  #welcome(protocol: number, lastSequence: number): void {
    if (this.#state !== 'greeting') return this.#violation('a welcome without a hello');
    const { spool, clock, heartbeatIntervalMs, rules, socket } = this.#options;
    if (protocol !== PROTOCOL_VERSION) {
      return this.#end(
        'refused',
        `the collector speaks protocol ${protocol}, this agent ${PROTOCOL_VERSION}`,
      );
    }
    this.#options.key?.confirm();
    if (lastSequence > spool.lastSequence) {
      spool.renewEpoch();
      return this.#end(
        'unreachable',
        'the spool is older than what the collector has of it: starting a new epoch',
      );
    }
    spool.acknowledge(lastSequence);
    this.#sentUpTo = lastSequence;
    this.#state = 'ready';
    this.#timers.push(
      clock.every(heartbeatIntervalMs, () => this.#sendHeartbeat()),
      clock.every(PING_INTERVAL_MS, () => this.#ping()),
    );
    this.#sendHeartbeat();
    const wanted = rules?.wanted();
    if (wanted !== undefined) socket.send(JSON.stringify(wanted));
    this.#options.members?.connected((message) => socket.send(JSON.stringify(message)));
    this.#options.ready();
    this.pump();
  }

  #sendHeartbeat(): void {
    const { socket, heartbeat, rules } = this.#options;
    const message: Heartbeat = {
      type: 'heartbeat',
      counters: heartbeat(),
      ...(rules === undefined ? {} : { rules: rules.inUse() }),
    };
    socket.send(JSON.stringify(message));
  }

  #acknowledge(sequence: number): void {
    if (this.#state !== 'ready' || sequence > this.#sentUpTo) {
      return this.#violation('an acknowledgement of what was not sent');
    }
    this.#inFlight = this.#inFlight.filter((last) => last > sequence);
    this.#watchAcknowledgements();
    this.#options.spool.acknowledge(sequence);
    this.pump();
  }

  /** Whether there was a batch to send. */
  #sendBatch(): boolean {
    const { spool, socket, sent } = this.#options;
    return this.#guardSpool(() => {
      const reports = spool.peek(this.#sentUpTo, MAX_BATCH_REPORTS, MAX_BATCH_TEXT_BYTES);
      const last = reports.at(-1);
      if (last === undefined) return false;
      // The spool holds the JSON already: joining it spares parsing and writing each report once more.
      const items = reports.map(({ sequence, text }) => `{"sequence":${sequence},"report":${text}}`);
      socket.send(`{"type":"reports","reports":[${items.join(',')}]}`);
      this.#sentUpTo = last.sequence;
      this.#inFlight.push(last.sequence);
      if (this.#inFlight.length === 1) this.#watchAcknowledgements();
      sent(reports.length);
      return true;
    }, false);
  }

  #watchAcknowledgements(): void {
    this.#acknowledgementTimer?.cancel();
    if (this.#inFlight.length === 0) return;
    this.#acknowledgementTimer = this.#options.clock.after(ACKNOWLEDGEMENT_LIMIT_MS, () =>
      this.#end('unreachable', `no acknowledgement within ${ACKNOWLEDGEMENT_LIMIT_MS / 1000} s`),
    );
  }

  #ping(): void {
    if (this.#unansweredPings >= MAX_UNANSWERED_PINGS) {
      return this.#end(
        'unreachable',
        `the collector was silent for ${(MAX_UNANSWERED_PINGS * PING_INTERVAL_MS) / 1000} s`,
      );
    }
    this.#unansweredPings++;
    this.#options.socket.ping();
  }

  #violation(problem: string): void {
    // The kernel takes a small frame at once, so the collector's log tells the reason, too.
    this.#options.socket.close(CLOSE_POLICY_VIOLATION);
    this.#end('protocol', `the collector sent an invalid message (${problem})`);
  }

  #close(): void {
    if (this.#state === 'ended') return;
    this.#onDrained = undefined;
    if (this.#state === 'ready') {
      this.#options.socket.send(JSON.stringify({ type: 'goodbye' } satisfies AgentMessage));
    }
    this.#options.socket.close(1000);
    this.#timers.push(this.#options.clock.after(CLOSE_LIMIT_MS, () => this.#end('stopped', 'stopped')));
  }

  /** Runs work on the spool; a failing disk ends the session, and the next one begins with what is on it. */
  #guardSpool<Result>(work: () => Result, fallback: Result): Result;
  #guardSpool(work: () => void): void;
  #guardSpool<Result>(work: () => Result, fallback?: Result): Result | undefined {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof PlasmawatchError)) throw error;
      this.#end('spool', messageOf(error));
      return fallback;
    }
  }

  /** The first cause counts; the socket's own end, which follows, is told to the owner. */
  #end(kind: SessionEndKind, reason: string): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.#options.members?.disconnected();
    this.#cause = { kind, reason };
    for (const timer of this.#timers) timer.cancel();
    this.#acknowledgementTimer?.cancel();
    this.#options.socket.terminate();
  }
}

function describeClose(code: number, reason: Buffer): [SessionEndKind, string] {
  // At most 123 bytes (RFC 6455, section 5.5), but any.
  const words = reason.toString('utf8').replaceAll(/[^\x20-\x7e]/g, '?');
  const said = words === '' ? `close code ${code}` : `close code ${code}: ${words}`;
  if (code === CLOSE_WRONG_VERSION) {
    return [
      'refused',
      `the collector does not speak protocol ${PROTOCOL_VERSION}: bring both to the same version`,
    ];
  }
  if (code === CLOSE_POLICY_VIOLATION)
    return ['refused', `the collector refused a message of this agent (${said})`];
  if (code === CLOSE_WITHOUT_FRAME) return ['unreachable', 'the connection broke'];
  return ['unreachable', `the collector closed the connection (${said})`];
}

function describeStatus(status: number, hasKey: boolean): string {
  if (status === 401 && hasKey) {
    return 'the collector refuses the key of this agent (HTTP 401): enrol it anew (plasmawatch agents enrol)';
  }
  if (status === 401) return 'the collector refuses the agent token (HTTP 401): compare the token files';
  if (status === 403)
    return 'the collector wants a certificate that its authority signed (HTTP 403): give certificateFile and keyFile';
  return `no collector answers at this URL (HTTP ${status})`;
}

function describeFault(error: Error): string {
  const code = systemCodeOf(error);
  if (code !== undefined && /CERT|SELF_SIGNED|VERIFY|ISSUER/.test(code)) {
    return `the collector's certificate is not trusted (${code}): give its CA, and a URL with the name in the certificate`;
  }
  // Node joins the failures of several addresses into one error without a message.
  return messageOf(error) === '' ? (code ?? 'connection failed') : messageOf(error);
}
