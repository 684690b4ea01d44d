/**
 * An agent that was taken over: it holds a good credential and sends whatever does most harm, as fast as it is read. Every
 * field has a value at its limit, every kind comes, services and peers are invented, times are impossible, and there is
 * evidence, some of it of anomalies that nobody knows.
 */
import { WebSocket } from 'ws';
import { ANOMALY_KINDS, MAX_EVIDENCE_BYTES, type Anomaly, type Report } from '../../common/event.ts';
import {
  INGEST_PATH,
  MAX_BATCH_REPORTS,
  MAX_MESSAGE_BYTES,
  PROTOCOL_VERSION,
} from '../../common/protocol.ts';
import { sampleAnomaly, sampleFlowReport } from './sample-report.ts';

const EPOCH = '6f1c2a52-5df2-4c0e-9d8e-2a4f1a7f6666';
/** What it keeps ready in its socket; bytes. */
const READY_BYTES = 4 * MAX_MESSAGE_BYTES;
const RETRY_MS = 100;
const TIMES = [
  '1970-01-01T00:00:00Z',
  '2200-01-01T00:00:00Z',
  '9999-12-31T23:59:59Z',
  '2026-02-31T00:00:00Z',
];
/** Only the collector reports that an agent is missing; who claims it is cut off. */
const KINDS = ANOMALY_KINDS.filter((kind) => kind !== 'missing');

export class HostileAgent {
  /** Reports handed to the socket so far. */
  sent = 0;
  readonly #url: string;
  readonly #token: string;
  readonly #name: string;
  #messages = 0;
  #socket: WebSocket | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;

  constructor(url: string, token: string, name: string) {
    this.#url = url;
    this.#token = token;
    this.#name = name;
  }

  start(): void {
    const socket = new WebSocket(this.#url + INGEST_PATH, {
      headers: { authorization: `Bearer ${this.#token}` },
      perMessageDeflate: false,
    });
    this.#socket = socket;
    socket.on('error', () => {});
    socket.on('open', () => {
      const identity = { agent: this.#name, epoch: EPOCH, version: 'x'.repeat(64), capture: 'y'.repeat(64) };
      socket.send(JSON.stringify({ type: 'hello', protocol: PROTOCOL_VERSION, ...identity }));
      this.#pump();
    });
    socket.on('message', (data) => this.#lieAboutTime((data as Buffer).toString()));
    socket.on('close', () => {
      if (!this.#isStopped) this.#timer = setTimeout(() => this.start(), RETRY_MS);
    });
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    this.#socket?.terminate();
  }

  #lieAboutTime(text: string): void {
    const message = JSON.parse(text) as { type: string; originMs: number };
    if (message.type !== 'ask-time') return;
    const farAhead = 253_402_300_799_000;
    const { originMs } = message;
    this.#socket?.send(JSON.stringify({ type: 'time', originMs, receivedMs: farAhead, sentMs: farAhead }));
  }

  /** Fills the socket, then looks again when others had their turn. */
  #pump(): void {
    const socket = this.#socket;
    if (socket?.readyState !== WebSocket.OPEN) return;
    while (socket.bufferedAmount < READY_BYTES) socket.send(this.#message());
    this.#timer = setTimeout(() => this.#pump(), 5);
  }

  /** As many reports as one message may carry: by turns long ones, short ones, and evidence. */
  #message(): string {
    const style = this.#messages++ % 3;
    const texts: string[] = [];
    let length = 100;
    while (texts.length < MAX_BATCH_REPORTS) {
      const text = JSON.stringify({ sequence: this.sent + 1, report: this.#report(this.sent, style) });
      if (length + text.length > MAX_MESSAGE_BYTES) break;
      length += text.length + 1;
      texts.push(text);
      this.sent++;
    }
    return `{"type":"reports","reports":[${texts.join(',')}]}`;
  }

  #report(number: number, style: number): Report {
    if (style === 2) return this.#evidence(number);
    if (number % 3 === 0) return { ...sampleFlowReport(), node: this.#name };
    return this.#anomaly(number, style === 0 ? 'm'.repeat(1024) : 'nothing to see here, ticket SEC-1234');
  }

  /** Of the anomaly before, or of one that there is not. */
  #evidence(number: number): Report {
    if (number % 4 === 0) return this.#anomaly(number, 'packets follow');
    const anomaly = number % 4 === 1 ? idOf(number - 1) : `unknown-${number}`;
    const pcapng = 'A'.repeat(MAX_EVIDENCE_BYTES);
    return { type: 'evidence', node: this.#name, anomaly, packets: Number.MAX_SAFE_INTEGER, pcapng };
  }

  #anomaly(number: number, message: string): Anomaly {
    const { flow, ...anomaly } = sampleAnomaly(number);
    if (flow === null) throw new Error('expected a flow');
    const time = TIMES[number % TIMES.length] ?? '';
    const ip = `10.${66 + (number % 3)}.${Math.floor(number / 250) % 250}.${number % 250}`;
    const isLong = message.length > 1000;
    const long = isLong ? 'z'.repeat(256) : 'z';
    return {
      ...anomaly,
      id: idOf(number),
      node: this.#name,
      kind: KINDS[number % KINDS.length] ?? 'scan',
      severity: 'critical',
      flow: {
        ...flow,
        event: { start: time, end: time },
        source: { ip, port: 1, packets: Number.MAX_SAFE_INTEGER, bytes: Number.MAX_SAFE_INTEGER },
        network: { ...flow.network, community_id: long },
        plasmawatch: {
          ...flow.plasmawatch,
          service: number % 2 === 0 ? 'object-manager' : `service-${number}`,
        },
      },
      verdict: { allowed: false, rule: long, reason: 'no-rule' },
      user: { id: long, name: long },
      container: { id: long },
      ...(isLong && {
        process: { pid: 1, name: long, executable: 'e'.repeat(512), command_line: 'c'.repeat(512) },
      }),
      count: Number.MAX_SAFE_INTEGER,
      bytes: Number.MAX_SAFE_INTEGER,
      first: time,
      last: time,
      message,
    };
  }
}

function idOf(number: number): string {
  return `hostile-${number}`;
}
