/**
 * Where agents come in: a WebSocket on the collector's HTTP server. A peer is judged before the upgrade (path,
 * origin, token, certificate, room); what it says afterwards is the session's.
 */
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocketServer, type WebSocket } from 'ws';
import { formatAddress, isLoopbackHost, parseAddress } from '../../common/address.ts';
import type { Clock } from '../../common/clock.ts';
import type { Logger } from '../../common/log.ts';
import { INGEST_PATH, MAX_MESSAGE_BYTES } from '../../common/protocol.ts';
import type { AgentClocks } from '../fleet/agent-clocks.ts';
import type { RulesDistributor } from '../fleet/rules-distributor.ts';
import { answerAndClose } from '../edge/answer.ts';
import { clientCertificate } from '../edge/client-certificate.ts';
import type { Connections } from '../edge/connections.ts';
import type { RefusalReason, Refusals } from '../edge/refusals.ts';
import { clientAddress, sourceOf, type IsTrustedProxy } from '../edge/source.ts';
import type { Credential, Enrolments } from '../fleet/enrolments.ts';
import type { LimitWatch } from '../fleet/limit-watch.ts';
import type { FleetWatch } from '../fleet/watch.ts';
import type { SharedViews } from '../membership/shared-views.ts';
import type { Recorder } from '../incident/recorder.ts';
import type { CollectorMetrics } from '../metrics.ts';
import type { StoreGuard } from '../store/health.ts';
import type { Store } from '../store/store.ts';
import { Heartbeats } from './heartbeats.ts';
import { WorkShares, type PaceLimits } from './pace.ts';
import { Session, type SessionOptions } from './session.ts';

/** Peers that say no goodbye are cut off after this. */
const STOP_TIMEOUT_MS = 2000;

/** Pieces in which one message may arrive; each costs memory of its own. */
const MAX_CHUNKS = 16_384;

export interface IngestLimits extends PaceLimits {
  /** Connections at a time, before hello included. */
  readonly maxConnections: number;
  /** Names the store may know; an agent with a new name beyond that is sent away. */
  readonly maxAgents: number;
}

export interface IngestOptions {
  readonly server: Server;
  /** Told when a connection has become an agent's. */
  readonly connections: Pick<Connections, 'handOver'>;
  /** Whose word about where an agent connects from is taken. */
  readonly isTrustedProxy: IsTrustedProxy;
  readonly refusals: Refusals;
  readonly store: Store;
  readonly guard: StoreGuard;
  readonly recorder: Recorder;
  /** Told of what agents say of themselves. */
  readonly fleet: FleetWatch;
  /** Told of what is turned away because a limit is reached. */
  readonly ownLimits: Pick<LimitWatch, 'note'>;
  readonly sharedViews: SharedViews;
  readonly clocks: AgentClocks;
  /** Undefined where agents have rules of their own. */
  readonly rules: RulesDistributor | undefined;
  readonly clock: Clock;
  /** Called before times are noted by the wall clock: it may have been set just now. */
  readonly compareClocks?: () => void;
  readonly logger: Logger;
  readonly metrics: CollectorMetrics;
  /** What agents must present, and who may have which name. */
  readonly enrolments: Enrolments;
  /** Whether an agent needs a certificate that says it is this agent. */
  readonly needsCertificate: boolean;
  readonly limits: IngestLimits;
}

export class Ingest {
  readonly #options: IngestOptions;
  readonly #heartbeats: Heartbeats;
  readonly #work: WorkShares;
  readonly #sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_MESSAGE_BYTES,
    // A message is one frame: no pong comes in between, so a message without an end is a silent peer's.
    maxFragments: 1,
    maxBufferedChunks: MAX_CHUNKS,
    // The session answers: a peer that pings and does not read would fill our memory.
    autoPong: false,
    perMessageDeflate: false,
    clientTracking: false,
  });
  readonly #sessions = new Set<Session>();
  readonly #byAgent = new Map<string, Session>();
  #onEmpty: (() => void) | undefined;
  #isStopped = false;

  constructor(options: IngestOptions) {
    this.#options = options;
    this.#heartbeats = new Heartbeats(options);
    this.#work = new WorkShares(options.clock.monotonic());
    options.server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    this.#sockets.on('wsClientError', (_error, socket, request) => {
      this.#turnAway(socket, 400, 'bad-upgrade', request);
    });
  }

  /** Names of the agents that are connected now. */
  connectedAgents(): ReadonlySet<string> {
    return new Set(this.#byAgent.keys());
  }

  /** Ends the session of an agent that was retired. */
  disconnect(agent: string): void {
    this.#byAgent.get(agent)?.retire();
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
    const { enrolments, guard, needsCertificate, limits, compareClocks } = this.#options;
    compareClocks?.();
    const { origin, authorization } = request.headers;
    const path = (request.url ?? '').split('?')[0];
    if (path !== INGEST_PATH) return this.#turnAway(socket, 404, 'wrong-path', request);
    // Agents send no Origin; a page in a browser always does, and might reach a collector on loopback.
    if (origin !== undefined) return this.#turnAway(socket, 403, 'from-a-browser', request);
    let credential: Credential | undefined;
    if (!guard(() => (credential = enrolments.identify(authorization)))) {
      return this.#turnAway(socket, 503, 'store-failed', request);
    }
    if (credential === undefined) return this.#turnAway(socket, 401, 'wrong-token', request);
    const certificate = needsCertificate ? clientCertificate(socket) : undefined;
    if (needsCertificate && certificate?.agent === undefined) {
      const reason = certificate === undefined ? 'no-certificate' : 'wrong-certificate';
      return this.#turnAway(socket, 403, reason, request);
    }
    const proof = { credential, certifiedAgent: certificate?.agent };
    const isFull = this.#sessions.size >= limits.maxConnections;
    if (isFull) this.#options.ownLimits.note('connections');
    if (this.#isStopped || isFull) {
      return this.#turnAway(socket, 503, 'too-many-connections', request);
    }
    this.#sockets.handleUpgrade(request, socket, head, (webSocket) => {
      socket.off('error', ignoreError);
      this.#accept(webSocket, request, proof);
    });
  }

  #accept(
    socket: WebSocket,
    request: IncomingMessage,
    proof: Pick<SessionOptions, 'credential' | 'certifiedAgent'>,
  ): void {
    const session = new Session({
      ...this.#options,
      ...proof,
      socket,
      from: addressOf(request),
      place: placeOf(request, this.#options.isTrustedProxy),
      address: canonical(
        clientAddress(
          request.socket.remoteAddress,
          request.headers['x-forwarded-for'],
          this.#options.isTrustedProxy,
        ),
      ),
      reachedAt: canonical(request.socket.localAddress),
      heartbeats: this.#heartbeats,
      work: this.#work,
      admit: (name, session) => this.#admit(name, session, request),
      onEnd: (session) => this.#forget(session),
    });
    this.#sessions.add(session);
  }

  #admit(name: string, session: Session, request: IncomingMessage): boolean {
    const { store, limits, connections, metrics, ownLimits } = this.#options;
    // A name that an admin enrolled has its place: whoever makes up names fills the others only.
    const isExpected = store.hasAgent(name) || store.enrolments.has(name);
    if (!isExpected && store.agentCount() >= limits.maxAgents) {
      ownLimits.note('agents');
      return false;
    }
    connections.handOver(request.socket);
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
      this.#heartbeats.disconnected(name);
      this.#options.logger.info({ agent: name }, 'agent disconnected');
    }
    this.#options.metrics.agentsConnected.set(this.#byAgent.size);
    if (this.#sessions.size === 0) this.#onEmpty?.();
  }

  #turnAway(socket: Duplex, status: number, reason: RefusalReason, request: IncomingMessage): void {
    this.#options.refusals.note(reason, addressOf(request));
    answerAndClose(socket, status, status === 401 ? ['WWW-Authenticate: Bearer'] : []);
  }
}

function ignoreError(): void {
  // What broke the connection ends it, too.
}

/** Whoever is on this machine has all addresses of loopback to choose from. */
function placeOf({ socket, headers }: IncomingMessage, isTrusted: IsTrustedProxy): string {
  const client = clientAddress(socket.remoteAddress, headers['x-forwarded-for'], isTrusted);
  return isLoopbackHost(client ?? '') ? 'loopback' : sourceOf(client);
}

/** As addresses are written in messages: without a zone, and IPv4 as such. */
function canonical(address: string | undefined): string | undefined {
  const parsed = parseAddress(address?.replace(/%.*$/, '') ?? '');
  return parsed && formatAddress(parsed);
}

function addressOf(request: IncomingMessage): string {
  return request.socket.remoteAddress ?? 'unknown';
}
