import { afterEach, describe, expect, it } from 'vitest';
import { addEvidenceRoutes } from '../../../collector/api/evidence.ts';
import { createServer } from '../../../collector/api/server.ts';
import { silentLogger } from '../../../common/log.ts';
import { openParts, TEST_EPOCH } from '../../support/collector-parts.ts';
import { sampleAnomaly } from '../../support/sample-report.ts';

const RESPONDER = 'responder-only-0123456789';
const VIEWER = 'viewer-only-0123456789012';
const PACKETS = Buffer.from('a pcapng section');
const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

/** A collector with one incident of two anomalies, the second of which has evidence. */
async function openApi() {
  const { store, recorder } = await openParts();
  const server = createServer({
    listenHost: '127.0.0.1',
    allowedHosts: [],
    tokens: [
      { name: 'ann', role: 'responder', token: RESPONDER },
      { name: 'screen', role: 'viewer', token: VIEWER },
    ],
    logger: silentLogger,
  });
  addEvidenceRoutes(server, { store });
  closers.push(() => server.close());
  recorder.record('w1', TEST_EPOCH, [
    { sequence: 1, report: sampleAnomaly(1) },
    { sequence: 2, report: sampleAnomaly(2) },
    {
      sequence: 3,
      report: {
        type: 'evidence',
        node: 'w1',
        anomaly: 'w1-2',
        packets: 4,
        pcapng: PACKETS.toString('base64'),
      },
    },
  ]);
  return (url: string, token = RESPONDER) =>
    server.inject({ url, headers: { authorization: `Bearer ${token}` } });
}

describe('evidence in the API', () => {
  it('is listed with the anomalies that have some', async () => {
    const get = await openApi();
    expect((await get('/api/incidents/INC-1/evidence')).json()).toEqual({
      evidence: [
        {
          agent: 'w1',
          node: 'w1',
          anomaly: 'w1-2',
          packets: 4,
          path: '/api/incidents/INC-1/evidence/2.pcapng',
        },
      ],
    });
  });

  it('is handed out as a file', async () => {
    const get = await openApi();
    const answer = await get('/api/incidents/INC-1/evidence/2.pcapng');
    expect(answer.rawPayload).toEqual(PACKETS);
    expect(answer.headers).toMatchObject({
      'content-type': 'application/x-pcapng',
      'content-disposition': 'attachment; filename="INC-1-2.pcapng"',
    });
  });

  it.each([
    'INC-1/evidence/1.pcapng',
    'INC-1/evidence/3.pcapng',
    'INC-1/evidence/x',
    'INC-2/evidence',
    'x/evidence',
  ])('is not found at %s', async (path) => {
    const get = await openApi();
    expect((await get(`/api/incidents/${path}`)).statusCode).toBe(404);
  });

  it.each(['evidence', 'evidence/2.pcapng'])('is not for those who may only look: %s', async (path) => {
    const get = await openApi();
    expect((await get(`/api/incidents/INC-1/${path}`, VIEWER)).statusCode).toBe(403);
  });
});
