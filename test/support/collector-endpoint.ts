/**
 * The collector's end of the protocol on a real WebSocket server: it keeps what it "committed" by (agent, epoch,
 * sequence) and can misbehave on demand. A fake for the uplink's tests; the product's own server is in
 * collector/ingest.
 */
import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { WebSocketServer, type WebSocket } from 'ws';
import type { Report } from '../../common/event.ts';
import {
  agentMessageSchema,
  CLOSE_POLICY_VIOLATION,
  INGEST_PATH,
  MAX_MESSAGE_BYTES,
  parseMessage,
  PROTOCOL_VERSION,
  type AgentMessage,
  type Heartbeat,
  type Hello,
} from '../../common/protocol.ts';

/** What to do with a batch that arrived. */
export type BatchFate = 'acknowledge' | 'keep silent' | 'cut before commit' | 'cut after commit';

export interface CollectorEndpointOptions {
  readonly token?: string;
  readonly tls?: { readonly cert: string; readonly key: string };
  /** 0 takes a free port. */
  readonly port?: number;
  /** Carries over what an earlier endpoint committed, as a restarted collector does with its disk. */
  readonly committed?: Map<string, Map<number, Report>>;
  readonly fate?: (batch: number) => BatchFate;
  readonly answersPings?: boolean;
  readonly welcome?: (lastSequence: number) => unknown;
}

/** One accepted connection and what came over it. */
export interface Visit {
  readonly socket: WebSocket;
  hello: Hello | undefined;
  welcomedAt: number;
  /** Sequence numbers, batch by batch, in the order of arrival. */
  readonly batches: number[][];
  readonly heartbeats: Heartbeat[];
  readonly messageBytes: number[];
  /** Whether a batch met the fate of a cut connection. */
  isCut: boolean;
  isClosed: boolean;
}

export interface CollectorEndpoint {
  readonly url: string;
  readonly port: number;
  readonly visits: Visit[];
  /** Upgrade requests that were answered 401. */
  readonly refused: { authorization: string | undefined }[];
  readonly committed: Map<string, Map<number, Report>>;
  /** The committed reports of all epochs, by sequence. */
  reports(): Report[];
  cut(): void;
  close(): Promise<void>;
}

export async function startCollectorEndpoint(
  options: CollectorEndpointOptions = {},
): Promise<CollectorEndpoint> {
  const server: Server = options.tls === undefined ? createServer() : createTlsServer(options.tls);
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_MESSAGE_BYTES,
    autoPong: options.answersPings ?? true,
  });
  const visits: Visit[] = [];
  const refused: { authorization: string | undefined }[] = [];
  const committed = options.committed ?? new Map<string, Map<number, Report>>();

  server.on('upgrade', (request, socket, head) => {
    const { authorization } = request.headers;
    if (options.token !== undefined && authorization !== `Bearer ${options.token}`) {
      refused.push({ authorization });
      socket.end('HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    } else if (request.url === INGEST_PATH) {
      sockets.handleUpgrade(request, socket, head, (socket) =>
        visits.push(receive(socket, options, committed)),
      );
    } else {
      socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    }
  });
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const cut = (): void => {
    for (const client of sockets.clients) client.terminate();
  };
  return {
    url: `${options.tls === undefined ? 'ws' : 'wss'}://127.0.0.1:${port}`,
    port,
    visits,
    refused,
    committed,
    reports: () => [...committed.values()].flatMap((epoch) => Array.from(epoch.values())),
    cut,
    close: async () => {
      cut();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function receive(
  socket: WebSocket,
  options: CollectorEndpointOptions,
  committed: Map<string, Map<number, Report>>,
): Visit {
  const visit: Visit = {
    socket,
    hello: undefined,
    welcomedAt: 0,
    batches: [],
    heartbeats: [],
    messageBytes: [],
    isCut: false,
    isClosed: false,
  };
  socket.on('error', () => undefined);
  socket.on('close', () => (visit.isClosed = true));
  socket.on('message', (data) => {
    // What was in the socket's buffer when it was cut is as lost as what was on the wire.
    if (visit.isCut) return;
    const text = Buffer.isBuffer(data) ? data.toString('utf8') : '';
    visit.messageBytes.push(Buffer.byteLength(text));
    const parsed = parseMessage(agentMessageSchema, text);
    if (parsed.ok) take(visit, parsed.message, options, committed);
    else socket.close(CLOSE_POLICY_VIOLATION);
  });
  return visit;
}

function take(
  visit: Visit,
  message: AgentMessage,
  options: CollectorEndpointOptions,
  committed: Map<string, Map<number, Report>>,
): void {
  const { socket } = visit;
  if (message.type === 'hello') {
    visit.hello = message;
    const store = storeOf(committed, message);
    visit.welcomedAt = Math.max(0, ...store.keys());
    const welcome = { type: 'welcome', protocol: PROTOCOL_VERSION, lastSequence: visit.welcomedAt };
    socket.send(JSON.stringify(options.welcome?.(visit.welcomedAt) ?? welcome));
  } else if (message.type === 'heartbeat') {
    visit.heartbeats.push(message);
  } else if (message.type === 'reports' && visit.hello !== undefined) {
    visit.batches.push(message.reports.map(({ sequence }) => sequence));
    const fate = options.fate?.(visit.batches.length) ?? 'acknowledge';
    visit.isCut = fate === 'cut before commit' || fate === 'cut after commit';
    if (fate === 'cut before commit') return socket.terminate();
    const store = storeOf(committed, visit.hello);
    for (const { sequence, report } of message.reports) if (!store.has(sequence)) store.set(sequence, report);
    if (fate === 'cut after commit') return socket.terminate();
    if (fate === 'acknowledge') {
      socket.send(JSON.stringify({ type: 'ack', sequence: message.reports.at(-1)?.sequence }));
    }
  }
}

function storeOf(committed: Map<string, Map<number, Report>>, { agent, epoch }: Hello): Map<number, Report> {
  const key = `${agent} ${epoch}`;
  const store = committed.get(key) ?? new Map<number, Report>();
  committed.set(key, store);
  return store;
}
