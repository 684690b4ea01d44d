import { describe, expect, it } from 'vitest';
import { Frame, type FlowEndpoints } from '../../../agent/capture/source.ts';
import { decode, Packet } from '../../../agent/decode/packet.ts';
import type { EvidenceClaim } from '../../../agent/detect/activities.ts';
import { Evidence, MAX_RECORDINGS_A_MINUTE, MAX_WAITING_LENGTH } from '../../../agent/evidence/evidence.ts';
import { parseAddress } from '../../../common/address.ts';
import { evidenceReportSchema, type EvidenceReport } from '../../../common/event.ts';
import type { EvidenceLimits } from '../../../rules/match.ts';
import { tcpFrame } from '../../support/pcap-bytes.ts';

const START_MS = 1_790_000_000_000;
const STRANGER = '10.77.9.66:40000';
const NODE = '10.77.0.11:43800';

function end(text: string) {
  const [ip = '', port] = text.split(':');
  const address = parseAddress(ip);
  if (address === undefined) throw new Error(text);
  return { ...address, port: Number(port) };
}

function setUp(limits: EvidenceLimits = { packets: 3, payloadBytes: 0 }) {
  const reports: EvidenceReport[] = [];
  const held = new Set<string>();
  const wanted: (FlowEndpoints & { packets: number })[] = [];
  const evidence = new Evidence({
    node: 'w1',
    limits,
    report: (report) => reports.push(report),
    isPending: (anomaly) => held.has(anomaly),
    interfaceName: () => 'eth0',
    wantPackets: (direction, packets) => wanted.push({ ...direction, packets }),
  });
  const packet = new Packet();
  const see = (bytes: Uint8Array): void => {
    const frame = new Frame();
    frame.view = new DataView(bytes.buffer);
    frame.capturedLength = bytes.length;
    frame.originalLength = bytes.length;
    frame.linkType = 1;
    expect(decode(frame, packet)).toBe('tcp');
    evidence.frame(frame, packet);
  };
  const begin = (anomaly: string, from = STRANGER, claim: EvidenceClaim = 'answered'): boolean =>
    evidence.begin(anomaly, { initiator: end(from), responder: end(NODE), tunnelKey: 0 }, claim, START_MS);
  return { evidence, reports, see, begin, wanted, held };
}

function bytesOfReport(report: EvidenceReport | undefined): Buffer {
  return Buffer.from(evidenceReportSchema.parse(report).pcapng, 'base64');
}

describe('evidence', () => {
  it('is the first packets of both directions of the connection, handed over when they are complete', () => {
    const { reports, see, begin } = setUp();
    begin('a1');
    see(tcpFrame({ from: STRANGER, to: NODE, flags: 'S' }));
    see(tcpFrame({ from: NODE, to: STRANGER, flags: 'SA' }));
    expect(reports).toEqual([]);
    see(tcpFrame({ from: STRANGER, to: NODE, flags: 'A' }));
    see(tcpFrame({ from: STRANGER, to: NODE, flags: 'A' }));
    expect(reports).toHaveLength(1);
    expect(reports[0]).toMatchObject({ type: 'evidence', node: 'w1', anomaly: 'a1', packets: 3 });
  });

  it('holds headers and no payload, unless the rules ask for some', () => {
    const segment = tcpFrame({ from: STRANGER, to: NODE, flags: 'PA', payload: 300 });
    segment.fill(0x50, 54);
    const without = setUp({ packets: 1, payloadBytes: 0 });
    without.begin('a1');
    without.see(segment);
    expect(bytesOfReport(without.reports[0]).includes('PPPP')).toBe(false);

    const some = setUp({ packets: 1, payloadBytes: 8 });
    some.begin('a1');
    some.see(segment);
    expect(bytesOfReport(some.reports[0]).includes('P'.repeat(8))).toBe(true);
    expect(bytesOfReport(some.reports[0]).includes('P'.repeat(9))).toBe(false);
  });

  it('holds nothing of other connections, though they share the ports', () => {
    const { evidence, reports, see, begin } = setUp();
    begin('a1');
    see(tcpFrame({ from: STRANGER, to: NODE, flags: 'S' }));
    see(tcpFrame({ from: '10.77.0.12:40000', to: NODE, flags: 'S' }));
    evidence.ended('a1');
    expect(reports[0]?.packets).toBe(1);
  });

  it('tells two strangers with the same ports apart', () => {
    const { evidence, reports, see, begin } = setUp();
    begin('a1');
    begin('a2', '10.77.9.67:40000');
    see(tcpFrame({ from: '10.77.9.67:40000', to: NODE, flags: 'S' }));
    evidence.end();
    expect(reports.map(({ anomaly }) => anomaly)).toEqual(['a2']);
  });

  it('is handed over after five seconds, when the connection ends, or at the end; never empty, never twice', () => {
    const { evidence, reports, see, begin } = setUp();
    begin('old');
    see(tcpFrame({ from: STRANGER, to: NODE, flags: 'S' }));
    evidence.tick(START_MS + 4999);
    expect(reports).toHaveLength(0);
    evidence.tick(START_MS + 5000);
    expect(reports).toHaveLength(1);
    evidence.ended('old');
    begin('empty');
    evidence.end();
    expect(reports).toHaveLength(1);
  });

  it('asks the source for the packets of both directions', () => {
    const { begin, wanted } = setUp();
    begin('a1');
    const { w3: stranger } = end(STRANGER);
    const { w3: node } = end(NODE);
    expect(wanted).toEqual([
      expect.objectContaining({
        source3: stranger,
        sourcePort: 40_000,
        destination3: node,
        destinationPort: 43_800,
        packets: 3,
      }),
      expect.objectContaining({
        source3: node,
        sourcePort: 43_800,
        destination3: stranger,
        destinationPort: 40_000,
        packets: 3,
      }),
    ]);
  });

  it('goes on by the limits that held when it began', () => {
    const { evidence, reports, see, begin } = setUp({ packets: 2, payloadBytes: 0 });
    begin('a1');
    evidence.setLimits({ packets: 1, payloadBytes: 0 });
    see(tcpFrame({ from: STRANGER, to: NODE, flags: 'S' }));
    expect(reports).toEqual([]);
    see(tcpFrame({ from: NODE, to: STRANGER, flags: 'SA' }));
    expect(reports).toMatchObject([{ anomaly: 'a1', packets: 2 }]);
  });

  it('is not kept at all where the rules ask for no packets', () => {
    const { evidence, reports, see, begin } = setUp({ packets: 0, payloadBytes: 0 });
    begin('a1');
    see(tcpFrame({ from: STRANGER, to: NODE, flags: 'S' }));
    evidence.end();
    expect(reports).toEqual([]);
  });

  it('is bounded in a minute for each claim, and counts what it turned away', () => {
    const { evidence, begin } = setUp();
    for (const claim of ['attempt', 'unproven', 'answered', 'heavy'] as const) {
      const begun = Array.from({ length: 200 }, (_, host) =>
        begin(`${claim} ${host}`, `10.77.9.${host}:1`, claim),
      );
      expect(begun.filter(Boolean)).toHaveLength(MAX_RECORDINGS_A_MINUTE[claim]);
    }
    expect(evidence.turnedAway).toBe(800 - 60 - 120 - 60);
  });

  it('is kept of whoever was answered, though forged connections have all places', () => {
    const { evidence, reports, see, begin } = setUp({ packets: 9, payloadBytes: 0 });
    for (let host = 0; host < 60; host++) {
      begin(`forged ${host}`, `10.77.8.${host}:40000`, 'unproven');
      see(tcpFrame({ from: `10.77.8.${host}:40000`, to: NODE, flags: 'A' }));
    }
    for (let host = 0; host < 4; host++) begin(`real ${host}`, `10.77.9.${host}:40000`);
    expect(begin('answered')).toBe(true);
    expect(reports.map(({ anomaly }) => anomaly)).toEqual(['forged 0']);
    see(tcpFrame({ from: STRANGER, to: NODE, flags: 'A' }));
    evidence.ended('answered');
    expect(reports.map(({ anomaly }) => anomaly)).toEqual(['forged 0', 'answered']);
  });

  it('is not kept of a forged connection where answered ones have all places', () => {
    const { evidence, begin } = setUp();
    for (let host = 0; host < 64; host++) begin(`real ${host}`, `10.77.9.${host}:40000`);
    expect(begin('forged', STRANGER, 'unproven')).toBe(false);
    expect(evidence.turnedAway).toBe(1);
  });

  it('waits for its anomaly to be reported, whether it is complete before or after', () => {
    const { evidence, reports, see, begin, held } = setUp({ packets: 1, payloadBytes: 0 });
    held.add('a1');
    begin('a1');
    see(tcpFrame({ from: STRANGER, to: NODE, flags: 'S' }));
    expect(reports).toEqual([]);
    held.delete('a1');
    evidence.confirmed('a1');
    evidence.confirmed('a1');
    expect(reports.map(({ anomaly }) => anomaly)).toEqual(['a1']);
  });

  it('of pending anomalies is bounded over all, and has room again once they are decided', () => {
    const { evidence, reports, see, held } = setUp({ packets: 60, payloadBytes: 1400 });
    const frame = tcpFrame({ from: STRANGER, to: NODE, flags: 'A', payload: 1400 });
    const record = (anomaly: string): void => {
      held.add(anomaly);
      evidence.begin(
        anomaly,
        { initiator: end(STRANGER), responder: end(NODE), tunnelKey: 0 },
        'answered',
        START_MS + held.size * 10_000,
      );
      for (let packet = 0; packet < 60; packet++) see(frame);
    };
    for (let index = 0; evidence.turnedAway === 0 && index < 1000; index++) record(`a${index}`);
    const kept = [...held].slice(0, -1);
    for (const anomaly of held) evidence.confirmed(anomaly);
    expect(reports.map(({ anomaly }) => anomaly)).toEqual(kept);
    const length = reports.reduce((sum, { pcapng }) => sum + pcapng.length, 0);
    expect(length).toBeLessThanOrEqual(MAX_WAITING_LENGTH);
    expect(length).toBeGreaterThan(MAX_WAITING_LENGTH - 200_000);
    record('later');
    evidence.confirmed('later');
    expect(reports.at(-1)?.anomaly).toBe('later');
  });

  it('is forgotten with an anomaly that is none', () => {
    const { evidence, reports, see, begin, held } = setUp({ packets: 1, payloadBytes: 0 });
    for (const anomaly of ['complete', 'begun']) {
      held.add(anomaly);
      begin(anomaly);
      if (anomaly === 'complete') see(tcpFrame({ from: STRANGER, to: NODE, flags: 'S' }));
      evidence.forget(anomaly);
    }
    held.clear();
    evidence.confirmed('complete');
    evidence.end();
    expect(reports).toEqual([]);
  });
});
