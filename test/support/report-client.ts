/** Reports to a collector, sent as an agent sends them. */
import { once } from 'node:events';
import { WebSocket } from 'ws';
import type { Report } from '../../common/event.ts';
import { INGEST_PATH, PROTOCOL_VERSION } from '../../common/protocol.ts';
import { TEST_EPOCH } from './collector-parts.ts';
import { waitFor } from './wait-for.ts';

/** In one message. */
const MAX_REPORTS = 250;

interface ReportClientOptions {
  /** Of the collector, as it says it: http or https. */
  readonly url: string;
  readonly token: string;
  /** `w1` when left out. */
  readonly agent?: string;
  /** SHA-256 of the key for which a one-time token is exchanged. */
  readonly keyDigest?: string;
  /** The address to come from. */
  readonly localAddress?: string;
  /** Number of the first report; 1 when left out. */
  readonly firstSequence?: number;
}

/** Says hello as an agent, sends the reports, and waits until the collector has acknowledged the last one. */
export async function sendReports(
  { url, token, agent = 'w1', keyDigest, localAddress, firstSequence = 1 }: ReportClientOptions,
  reports: readonly Report[],
): Promise<void> {
  const socket = new WebSocket(url.replace('http', 'ws') + INGEST_PATH, {
    headers: { authorization: `Bearer ${token}` },
    rejectUnauthorized: false,
    ...(localAddress === undefined ? {} : { localAddress }),
  });
  await once(socket, 'open');
  const answers: string[] = [];
  socket.on('message', (data) => answers.push((data as Buffer).toString()));
  const hello = { agent, keyDigest, epoch: TEST_EPOCH, version: '0.1.0', capture: 'ring' };
  socket.send(JSON.stringify({ type: 'hello', protocol: PROTOCOL_VERSION, ...hello }));
  const sequenced = reports.map((report, index) => ({ sequence: firstSequence + index, report }));
  for (let from = 0; from < sequenced.length; from += MAX_REPORTS) {
    socket.send(JSON.stringify({ type: 'reports', reports: sequenced.slice(from, from + MAX_REPORTS) }));
  }
  const acknowledgement = `{"type":"ack","sequence":${firstSequence + reports.length - 1}}`;
  await waitFor(() => answers.includes(acknowledgement), 'an acknowledgement');
  socket.close();
  await once(socket, 'close');
}
