/**
 * Where agents come in: a WebSocket on the collector's HTTP server. A peer is judged before the upgrade (path,
 * origin, token, room); what it says afterwards is the session's.
 */
import { STATUS_CODES, type IncomingMessage, type Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocketServer, type WebSocket } from 'ws';
import type { Clock } from '../../common/clock.ts';
import type { Logger } from '../../common/log.ts';
import { INGEST_PATH, MAX_MESSAGE_BYTES } from '../../common/protocol.ts';
import type { AgentClocks } from '../fleet/agent-clocks.ts';
import type { RulesDistributor } from '../fleet/rules-distributor.ts';
import type { FleetWatch } from '../fleet/watch.ts';
import type { SharedViews } from '../membership/shared-views.ts';
import type { Recorder } from '../incident/recorder.ts';
import type { CollectorMetrics } from '../metrics.ts';
import type { StoreGuard } from '../store/health.ts';
import type { Store } from '../store/store.ts';
import { Heartbeats } from './heartbeats.ts';
import { Refusals, type RefusalReason } from './refusals.ts';
import { Session } from './session.ts';
import { isAuthorized } from './token.ts';

/** Peers that say no goodbye are cut off after this. */
const STOP_TIMEOUT_MS = 2000;

export interface IngestOptions {
  readonly server: Server;
  readonly store: Store;
  readonly guard: StoreGuard;
  readonly recorder: Recorder;
  /** Told of what agents say of themselves. */
  readonly fleet: FleetWatch;
  readonly sharedViews: SharedViews;
  readonly clocks: AgentClocks;
  /** Undefined where agents have rules of their own. */
  readonly rules: RulesDistributor | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: CollectorMetrics;
  /** What agents must present; undefined for a collector on loopback that asks for nothing. */
  readonly token: string | undefined;
  /** Connections at a time, before hello included. */
  readonly maxConnections: number;
  /** Names the store may know; an agent with a new name beyond that is sent away. */
  readonly maxAgents: number;
}

export class Ingest {
  readonly #options: IngestOptions;
  readonly #refusals: Refusals;
  readonly #heartbeats: Heartbeats;
  readonly #sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_MESSAGE_BYTES,
    perMessageDeflate: false,
    clientTracking: false,
  });
  readonly #sessions = new Set<Session>();
  readonly #byAgent = new Map<string, Session>();
  #onEmpty: (() => void) | undefined;
  #isStopped = false;

  constructor(options: IngestOptions) {
    this.#options = options;
    this.#refusals = new Refusals(options);
    this.#heartbeats = new Heartbeats(options);
    options.server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    this.#sockets.on('wsClientError', (_error, socket, request) => {
      this.#turnAway(socket, 400, 'bad-upgrade', request);
    });
  }

  /** Names of the agents that are connected now. */
  connectedAgents(): ReadonlySet<string> {
    return new Set(this.#byAgent.keys());
  }

  /** Says goodbye to all agents; resolves when every connection ended. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const session of this.#sessions) session.stop();
    const timeout = this.#options.clock.after(STOP_TIMEOUT_MS, () => {
      for (const session of this.#sessions) session.terminate();
    });
    if (this.#sessions.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onEmpty = resolve;
      });
    }
    timeout.cancel();
    this.#heartbeats.write();
    this.#sockets.close();
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    // Until ws takes the socket over, nobody else listens, and an unhandled 'error' would end the process.
    socket.on('error', ignoreError);
    const { token, maxConnections } = this.#options;
    const { origin, authorization } = request.headers;
    const path = (request.url ?? '').split('?')[0];
    if (path !== INGEST_PATH) return this.#turnAway(socket, 404, 'wrong-path', request);
    // Agents send no Origin; a page in a browser always does, and might reach a collector on loopback.
    if (origin !== undefined) return this.#turnAway(socket, 403, 'from-a-browser', request);
    if (!isAuthorized(authorization, token)) return this.#turnAway(socket, 401, 'wrong-token', request);
    if (this.#isStopped || this.#sessions.size >= maxConnections) {
      return this.#turnAway(socket, 503, 'too-many-connections', request);
    }
    this.#sockets.handleUpgrade(request, socket, head, (webSocket) => {
      socket.off('error', ignoreError);
      this.#accept(webSocket, addressOf(request));
    });
  }

  #accept(socket: WebSocket, from: string): void {
    const session = new Session({
      ...this.#options,
      socket,
      from,
      refusals: this.#refusals,
      heartbeats: this.#heartbeats,
      admit: (name, session) => this.#admit(name, session),
      onEnd: (session) => this.#forget(session),
    });
    this.#sessions.add(session);
  }

  #admit(name: string, session: Session): boolean {
    const { store, maxAgents, metrics } = this.#options;
    if (!store.hasAgent(name) && store.agentCount() >= maxAgents) return false;
    this.#byAgent.get(name)?.replace();
    this.#byAgent.set(name, session);
    metrics.agentsConnected.set(this.#byAgent.size);
    return true;
  }

  #forget(session: Session): void {
    this.#sessions.delete(session);
    const name = session.agent;
    if (name !== undefined && this.#byAgent.get(name) === session) {
      this.#byAgent.delete(name);
      this.#options.logger.info({ agent: name }, 'agent disconnected');
    }
    this.#options.metrics.agentsConnected.set(this.#byAgent.size);
    if (this.#sessions.size === 0) this.#onEmpty?.();
  }

  #turnAway(socket: Duplex, status: number, reason: RefusalReason, request: IncomingMessage): void {
    this.#refusals.note(reason, addressOf(request));
    const challenge = status === 401 ? 'WWW-Authenticate: Bearer\r\n' : '';
    socket.end(
      `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\nConnection: close\r\nContent-Length: 0\r\n${challenge}\r\n`,
      () => socket.destroy(),
    );
  }
}

function ignoreError(): void {
  // What broke the connection ends it, too.
}

function addressOf(request: IncomingMessage): string {
  return request.socket.remoteAddress ?? 'unknown';
}
