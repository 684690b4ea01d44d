/**
 * The agent's way to the collector: keeps one connection up, sends what waits in the spool, and forgets a report
 * only when the collector has acknowledged it.
 *
 * What is in flight when a connection breaks is sent again on the next one; the collector's welcome says what it
 * has on disk already.
 */
import type { ClientOptions, WebSocket } from 'ws';
import type { Clock, Timer } from '../../common/clock.ts';
import type { Logger } from '../../common/log.ts';
import { MAX_MESSAGE_BYTES, type Heartbeat, type Hello } from '../../common/protocol.ts';
import type { MembersLink } from '../membership/shared.ts';
import type { AgentKey } from './agent-key.ts';
import { BackOff } from './back-off.ts';
import { addressed, resolveEndpoint, type EndpointOptions } from './endpoint.ts';
import type { RulesLink } from './rules-link.ts';
import { Session, type SessionEnd, type SessionEndKind } from './session.ts';
import type { Spool } from './spool.ts';

/** A connection that held this long was a good one: the next break starts with short waits again. */
const STABLE_MS = 30_000;
const FLUSH_LIMIT_MS = 5_000;
const HEARTBEAT_INTERVAL_MS = 10_000;
/** For the TCP and TLS handshakes and the upgrade. */
const HANDSHAKE_LIMIT_MS = 10_000;

export interface UplinkOptions extends EndpointOptions {
  /** The agent's own, presented in place of the token. */
  readonly key?: AgentKey | undefined;
  /** Stays the caller's: to be closed after `stop`. */
  readonly spool: Spool;
  readonly identity: Pick<Hello, 'agent' | 'version' | 'capture'>;
  /** The agent's counters as they stand now, for each heartbeat. */
  readonly heartbeat: () => Heartbeat['counters'];
  /** 10 s when not given. */
  readonly heartbeatIntervalMs?: number | undefined;
  /** Who takes the cluster's views that the collector hands out, and offers ours. */
  readonly members?: MembersLink | undefined;
  /** Which rules this agent runs, and who takes those of the collector. */
  readonly rules?: RulesLink | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Numbers from 0 up to 1, for the jitter of the waits. */
  readonly random: () => number;
  /** Makes the socket: `new WebSocket(url, options)`. */
  readonly connect: (url: URL, options: ClientOptions) => WebSocket;
}

/** Totals since the start. */
export interface UplinkCounters {
  /** 1 while the collector is connected and has said welcome, else 0. */
  connected: number;
  connections: number;
  /** Attempts that failed and connections that broke. */
  failures: number;
  /** Reports sent, repeats included. */
  reportsSent: number;
}

export interface Uplink {
  /** Begins to connect; returns at once. */
  start(): void;
  /** Says that reports were appended to the spool. */
  nudge(): void;
  /** Sends what it can within 5 s, closes, and resolves when nothing of it runs any more. */
  stop(): Promise<void>;
  counters(): Readonly<UplinkCounters>;
}

/** @throws PlasmawatchError PW_UPLINK when the URL, the token or the CA cannot be used (see `resolveEndpoint`) */
export function createUplink(options: UplinkOptions): Uplink {
  return new ReconnectingUplink(
    resolveEndpoint({ ...options, token: options.key?.bearer ?? options.token }),
    options,
  );
}

class ReconnectingUplink implements Uplink {
  readonly #url: URL;
  readonly #options: UplinkOptions;
  readonly #backOff: BackOff;
  readonly #counters: UplinkCounters = { connected: 0, connections: 0, failures: 0, reportsSent: 0 };
  #session: Session | undefined;
  #retryTimer: Timer | undefined;
  #stableTimer: Timer | undefined;
  #onStopped: (() => void) | undefined;
  #stopped: Promise<void> | undefined;
  /** Failures since the last welcome, and the kinds of them that have been logged. */
  #outage = { failures: 0, logged: new Set<SessionEndKind>() };

  constructor(url: URL, options: UplinkOptions) {
    this.#url = url;
    this.#options = options;
    this.#backOff = new BackOff(options.random);
  }

  start(): void {
    if (this.#session === undefined && this.#stopped === undefined) this.#connect();
  }

  nudge(): void {
    this.#session?.pump();
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#shutDown();
    return this.#stopped;
  }

  counters(): Readonly<UplinkCounters> {
    return { ...this.#counters };
  }

  async #shutDown(): Promise<void> {
    this.#retryTimer?.cancel();
    const session = this.#session;
    if (session === undefined) return;
    await new Promise<void>((resolve) => {
      this.#onStopped = resolve;
      session.stop(FLUSH_LIMIT_MS);
    });
  }

  #connect(): void {
    const { key, ca, certificate, spool, identity, heartbeat, clock, connect } = this.#options;
    const token = key?.bearer ?? this.#options.token;
    const socket = connect(addressed(this.#url), {
      handshakeTimeout: HANDSHAKE_LIMIT_MS,
      maxPayload: MAX_MESSAGE_BYTES,
      perMessageDeflate: false,
      followRedirects: false,
      ...(token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } }),
      ...(ca === undefined ? {} : { ca }),
      ...certificate,
    });
    this.#session = new Session({
      socket,
      spool,
      identity,
      key,
      heartbeat,
      heartbeatIntervalMs: this.#options.heartbeatIntervalMs ?? HEARTBEAT_INTERVAL_MS,
      members: this.#options.members,
      rules: this.#options.rules,
      clock,
      ready: () => this.#ready(),
      sent: (reports) => (this.#counters.reportsSent += reports),
      ended: (end) => this.#ended(end),
    });
  }

  #ready(): void {
    const { failures } = this.#outage;
    this.#outage = { failures: 0, logged: new Set() };
    this.#counters.connected = 1;
    this.#counters.connections++;
    this.#stableTimer = this.#options.clock.after(STABLE_MS, () => this.#backOff.reset());
    this.#options.logger.info(
      { collector: this.#url.host, failures, pending: this.#options.spool.counters().pending },
      `connected to the collector ${this.#url.host}${failures === 0 ? '' : ` after ${failures} failures`}`,
    );
  }

  #ended(end: SessionEnd): void {
    this.#session = undefined;
    this.#stableTimer?.cancel();
    this.#counters.connected = 0;
    if (this.#onStopped !== undefined) {
      this.#onStopped();
      return;
    }
    this.#counters.failures++;
    this.#outage.failures++;
    this.#logOnce(end);
    const delayMs =
      end.kind === 'refused' || end.kind === 'protocol'
        ? this.#backOff.slowDelayMs()
        : this.#backOff.nextDelayMs();
    this.#retryTimer = this.#options.clock.after(delayMs, () => this.#connect());
  }

  /** One line for each kind of fault in an outage; the repeats are counted and told when it is over. */
  #logOnce({ kind, reason }: SessionEnd): void {
    if (this.#outage.logged.has(kind)) return;
    this.#outage.logged.add(kind);
    this.#options.logger.warn(
      { code: 'PW_UPLINK', collector: this.#url.host, kind },
      `no connection to the collector ${this.#url.host}: ${reason}; reports wait in the spool`,
    );
  }
}
