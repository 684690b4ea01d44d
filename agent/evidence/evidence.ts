/**
 * The first packets of a connection that nobody allowed, kept for whoever has to find out what it was: headers, and
 * of the payload only as many bytes as the rules ask for.
 *
 * A recording begins with the activity's first packet, and is handed over once: when it has its packets, when the
 * connection ends, or a few seconds later. What belongs to nobody's recording costs one look into a small map.
 *
 * Recordings are bounded, at a time and in a minute, and what can be forged cannot use up the bound: each claim has a
 * minute's share of its own, and where all places are taken the recording with the lowest claim, then the oldest, is
 * handed over early.
 */
import { PcapngWriter } from './pcapng-writer.ts';
import { redact } from './redact.ts';
import type { FlowEndpoints, Frame } from '../capture/source.ts';
import type { Packet } from '../decode/packet.ts';
import type { EvidenceClaim } from '../detect/activities.ts';
import { copyAddress, formatAddress, type Address } from '../../common/address.ts';
import type { EvidenceReport } from '../../common/event.ts';
import { packageVersion } from '../../common/package.ts';
import type { EvidenceLimits } from '../../rules/match.ts';

/** A recording that has not got all its packets by then is handed over as it is. */
const RECORDING_MS = 5000;
/** Recordings at a time. */
export const MAX_RECORDINGS = 64;
/** Recordings that begin in a minute: whoever makes up addresses must not fill the disk. */
export const MAX_RECORDINGS_A_MINUTE: Readonly<Record<EvidenceClaim, number>> = {
  attempt: 0,
  // Most are members, and their recordings are forgotten.
  awaiting: 60,
  unproven: 60,
  answered: 120,
  heavy: 60,
};
const CLAIMS: readonly EvidenceClaim[] = ['attempt', 'awaiting', 'unproven', 'answered', 'heavy'];
const MINUTE_MS = 60_000;
/** Base64 of evidence whose anomaly is pending, together; beyond that the evidence of further ones is not kept. */
export const MAX_WAITING_LENGTH = 16 * 1024 * 1024;
/** Headers longer than this are cut: link layer, tunnels, IP and TCP with all options are shorter. */
const MAX_HEADER_BYTES = 512;

interface EvidenceOptions {
  readonly node: string;
  readonly limits: EvidenceLimits;
  readonly report: (evidence: EvidenceReport) => void;
  /** Whether the anomaly is not reported yet: its evidence waits until it is `confirmed` or forgotten. */
  readonly isPending: (anomaly: string) => boolean;
  /** The wall clock minus the clock that stamps packets, in ms; left out where that is the wall clock. */
  readonly wallAheadMs?: () => number;
  readonly interfaceName: (index: number) => string | undefined;
  /** Asks for the next packets of one direction, where the source would keep them to itself. */
  readonly wantPackets: (direction: FlowEndpoints, packets: number) => void;
}

/** A connection by its two ends. */
export interface Connection {
  readonly initiator: Address & { readonly port: number };
  readonly responder: Address & { readonly port: number };
  /** `Packet.tunnelKey` of its packets. */
  readonly tunnelKey: number;
}

interface Recording {
  /** Those that held when it began. */
  readonly limits: EvidenceLimits;
  readonly anomaly: string;
  readonly claim: EvidenceClaim;
  /** The ends, by value: a flow's own go on changing. */
  readonly ends: readonly [Connection['initiator'], Connection['responder']];
  readonly key: number;
  readonly tunnelKey: number;
  readonly writer: PcapngWriter;
  readonly beganMs: number;
}

export class Evidence {
  readonly #options: EvidenceOptions;
  #limits: EvidenceLimits;
  readonly #byAnomaly = new Map<string, Recording>();
  /** By both ports; strangers may share them, so there may be several. */
  readonly #byPorts = new Map<number, Recording[]>();
  /** What is ready before its anomaly is reported. */
  readonly #waiting = new Map<string, EvidenceReport>();
  #waitingLength = 0;
  /** The minute that is counted, and the recordings that have begun in it. */
  #minute = 0;
  #begunInMinute: Partial<Record<EvidenceClaim, number>> = {};
  /** Connections that were not recorded because there were too many. */
  turnedAway = 0;

  constructor(options: EvidenceOptions) {
    this.#options = options;
    this.#limits = options.limits;
  }

  /** Takes over other limits, for recordings that begin from now on. */
  setLimits(limits: EvidenceLimits): void {
    this.#limits = limits;
  }

  /**
   * Begins to keep the packets of a connection for an anomaly; again for the same anomaly it changes nothing.
   *
   * @param claim why: a higher one gets the place of a lower one
   * @returns whether the anomaly's packets are kept
   */
  begin(
    anomaly: string,
    { initiator, responder, tunnelKey }: Connection,
    claim: EvidenceClaim,
    nowMs: number,
  ): boolean {
    // Where the rules ask for none there is nothing to try again.
    if (this.#limits.packets === 0 || this.#byAnomaly.has(anomaly)) return true;
    if (!this.#makeRoom(claim, nowMs)) {
      this.turnedAway++;
      return false;
    }
    this.#begunInMinute[claim] = (this.#begunInMinute[claim] ?? 0) + 1;
    const { node, interfaceName } = this.#options;
    const [from, to] = [initiator, responder].map((end) => `${formatAddress(end)} port ${end.port}`);
    const writer = new PcapngWriter({
      application: `plasmawatch ${packageVersion()}`,
      comment: `anomaly ${anomaly} on ${node}: ${from} to ${to}; payload cut to ${this.#limits.payloadBytes} bytes`,
      interfaceName,
    });
    const key = keyOf(initiator.port, responder.port);
    const ends = [copyEnd(initiator), copyEnd(responder)] as const;
    const recording = { limits: this.#limits, anomaly, claim, ends, key, tunnelKey, writer, beganMs: nowMs };
    this.#byAnomaly.set(anomaly, recording);
    this.#byPorts.set(key, [...(this.#byPorts.get(key) ?? []), recording]);
    this.#want(recording, this.#limits.packets);
    return true;
  }

  /** Keeps the packet where a recording wants it. To be called after the table has seen it: it may begin one. */
  frame(frame: Frame, packet: Packet): void {
    if (this.#byAnomaly.size === 0) return;
    const recordings = this.#byPorts.get(keyOf(packet.sourcePort, packet.destinationPort));
    // What follows the first fragment has no TCP header to end the headers at, and is all payload.
    if (recordings === undefined || (packet.isFragment && packet.fragment.offset > 0)) return;
    const recording = recordings.find(
      ({ ends: [a, b], tunnelKey }) =>
        packet.tunnelKey === tunnelKey && (isBetween(packet, a, b) || isBetween(packet, b, a)),
    );
    if (recording === undefined) return;
    const aheadMs = this.#options.wallAheadMs?.();
    recording.writer.add(frame, partOf(frame, packet, recording.limits), aheadMs);
    if (recording.writer.packets >= recording.limits.packets) this.#handOver(recording);
  }

  /** The connection of an anomaly has ended. */
  ended(anomaly: string): void {
    const recording = this.#byAnomaly.get(anomaly);
    if (recording !== undefined) this.#handOver(recording);
  }

  /** A pending anomaly is reported. */
  confirmed(anomaly: string): void {
    const evidence = this.#waiting.get(anomaly);
    if (evidence === undefined) return;
    this.#forgetWaiting(anomaly);
    this.#options.report(evidence);
  }

  /** A pending anomaly is none. */
  forget(anomaly: string): void {
    this.#forgetWaiting(anomaly);
    const recording = this.#byAnomaly.get(anomaly);
    if (recording !== undefined) this.#remove(recording);
  }

  /** Hands over what is old enough. */
  tick(nowMs: number): void {
    for (const recording of this.#byAnomaly.values()) {
      if (nowMs - recording.beganMs >= RECORDING_MS) this.#handOver(recording);
    }
  }

  /** Hands over everything. */
  end(): void {
    for (const recording of this.#byAnomaly.values()) this.#handOver(recording);
  }

  #makeRoom(claim: EvidenceClaim, nowMs: number): boolean {
    const minute = Math.floor(nowMs / MINUTE_MS);
    if (minute !== this.#minute) this.#begunInMinute = {};
    this.#minute = minute;
    if ((this.#begunInMinute[claim] ?? 0) >= MAX_RECORDINGS_A_MINUTE[claim]) return false;
    if (this.#byAnomaly.size < MAX_RECORDINGS) return true;
    const lowest = this.#lowestRecording();
    if (lowest === undefined || CLAIMS.indexOf(lowest.claim) > CLAIMS.indexOf(claim)) return false;
    this.#handOver(lowest);
    return true;
  }

  /** The recording that gives way: of the lowest claim the oldest, which has had most of its time. */
  #lowestRecording(): Recording | undefined {
    let lowest: Recording | undefined;
    for (const recording of this.#byAnomaly.values()) {
      if (lowest === undefined || CLAIMS.indexOf(recording.claim) < CLAIMS.indexOf(lowest.claim))
        lowest = recording;
    }
    return lowest;
  }

  #handOver(recording: Recording): void {
    this.#remove(recording);
    const { anomaly, writer } = recording;
    if (writer.packets === 0) return;
    const evidence: EvidenceReport = {
      type: 'evidence',
      node: this.#options.node,
      anomaly,
      packets: writer.packets,
      pcapng: writer.bytes().toString('base64'),
    };
    if (!this.#options.isPending(anomaly)) this.#options.report(evidence);
    else if (this.#waitingLength + evidence.pcapng.length > MAX_WAITING_LENGTH) this.turnedAway++;
    else {
      this.#waiting.set(anomaly, evidence);
      this.#waitingLength += evidence.pcapng.length;
    }
  }

  #forgetWaiting(anomaly: string): void {
    this.#waitingLength -= this.#waiting.get(anomaly)?.pcapng.length ?? 0;
    this.#waiting.delete(anomaly);
  }

  #want({ ends: [a, b], tunnelKey }: Recording, packets: number): void {
    this.#options.wantPackets(directionOf(a, b, tunnelKey), packets);
    this.#options.wantPackets(directionOf(b, a, tunnelKey), packets);
  }

  #remove(recording: Recording): void {
    const { anomaly, key } = recording;
    this.#want(recording, 0);
    this.#byAnomaly.delete(anomaly);
    const left = this.#byPorts.get(key)?.filter((other) => other.anomaly !== anomaly) ?? [];
    if (left.length === 0) this.#byPorts.delete(key);
    else this.#byPorts.set(key, left);
  }
}

/** A copy of the headers and of as much payload as may be kept, without what could be a credential. */
function partOf(frame: Frame, packet: Packet, limits: EvidenceLimits): Buffer {
  const { view, offset, capturedLength } = frame;
  const headers = packet.payloadCaptured > 0 ? packet.payloadOffset - offset : capturedLength;
  const keptHeaders = Math.min(headers, MAX_HEADER_BYTES);
  // Payload behind headers that were cut would stand in the wrong place.
  const keptPayload = keptHeaders < headers ? 0 : Math.min(packet.payloadCaptured, limits.payloadBytes);
  const part = Buffer.from(new Uint8Array(view.buffer, view.byteOffset + offset, keptHeaders + keptPayload));
  redact(part, keptHeaders);
  return part;
}

/** The same for both directions. */
function keyOf(portA: number, portB: number): number {
  return portA < portB ? portA * 65_536 + portB : portB * 65_536 + portA;
}

function copyEnd(end: Connection['initiator']): Connection['initiator'] {
  return { ...copyAddress(end), port: end.port };
}

function directionOf(
  from: Connection['initiator'],
  to: Connection['initiator'],
  tunnelKey: number,
): FlowEndpoints {
  return {
    source0: from.w0,
    source1: from.w1,
    source2: from.w2,
    source3: from.w3,
    destination0: to.w0,
    destination1: to.w1,
    destination2: to.w2,
    destination3: to.w3,
    sourcePort: from.port,
    destinationPort: to.port,
    tunnelKey,
  };
}

function isBetween(packet: Packet, source: Address, destination: Address): boolean {
  return (
    packet.source3 === source.w3 &&
    packet.destination3 === destination.w3 &&
    packet.source2 === source.w2 &&
    packet.destination2 === destination.w2 &&
    packet.source1 === source.w1 &&
    packet.destination1 === destination.w1 &&
    packet.source0 === source.w0 &&
    packet.destination0 === destination.w0
  );
}
