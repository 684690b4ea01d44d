/**
 * What the kernel has counted of connections that another one has taken the place of, between the same endpoints. The
 * flow program puts it into a queue when the SYN of the new connection comes by; here it is told before that SYN's
 * frame is, so that it goes to the old connection. The queue is ahead of the ring, so it is there in time.
 */
import type { Frame } from '../source.ts';
import type { BpfMap, MapShape } from './bpf-maps.ts';
import { BPF_MAP_TYPE_QUEUE } from './constants.ts';
import { ENDED_FLOW, FLOW_KEY, FLOW_VALUE } from './flow-layout.ts';

/** Directions of connections that are followed by another one within the time that frames need: 40 ms. */
const MAX_ENDED = 8192;
/** The TCP header of the SYN starts within so many bytes: behind an IP header and its options. */
const SEARCHED_BYTES = 128;
const SHORTEST_IP_HEADER = 20;
/** The last words of the addresses: RFC 791, section 3.1, and RFC 8200, section 3. */
const IPV4_ADDRESSES = { source: 12, destination: 16 } as const;
const IPV6_ADDRESSES = { source: 20, destination: 36 } as const;
/** Headers in front of TCP have a multiple of so many bytes. */
const HEADER_UNIT = 4;
/** RFC 9293, section 3.1. */
const TCP = { sourcePort: 0, destinationPort: 2, sequence: 4, opening: 8 } as const;

export const ENDED_MAP: MapShape = {
  type: BPF_MAP_TYPE_QUEUE,
  keySize: 0,
  valueSize: ENDED_FLOW.size,
  maxEntries: MAX_ENDED,
};

/** Takes an ENDED_FLOW. */
export type TellEnded = (ended: DataView) => void;

export class EndedFlows {
  readonly #map: BpfMap;
  /** By the SYN that ended them. */
  readonly #waiting = new Map<string, DataView[]>();
  /** Those that waited already when they were last looked through. */
  #overdue: ReadonlySet<string> = new Set();

  /** @param map of the shape ENDED_MAP; stays the caller's */
  constructor(map: BpfMap) {
    this.#map = map;
  }

  /** Whether there is anything to tell. */
  get isWaiting(): boolean {
    return this.#waiting.size > 0;
  }

  /** Reads the queue; to be called when a block of the ring is there and before its first frame. */
  read(): void {
    while (this.#map.take()) {
      const { buffer, byteOffset } = this.#map.value;
      const ended = new DataView(buffer.slice(byteOffset, byteOffset + ENDED_FLOW.size));
      const name = nameOf(
        ended.getUint32(ENDED_FLOW.key + FLOW_KEY.source + 12),
        ended.getUint32(ENDED_FLOW.key + FLOW_KEY.destination + 12),
        ended.getUint16(ENDED_FLOW.key + FLOW_KEY.sourcePort),
        ended.getUint16(ENDED_FLOW.key + FLOW_KEY.destinationPort),
        ended.getUint32(ENDED_FLOW.value + FLOW_VALUE.nextSequence),
      );
      this.#waiting.set(name, [...(this.#waiting.get(name) ?? []), ended]);
    }
  }

  /** Tells what has ended with this frame, where it is a SYN that something waits for. */
  tellBefore({ view, offset, capturedLength }: Frame, tell: TellEnded): void {
    if (capturedLength < IPV6_ADDRESSES.destination + 4) return;
    const addresses = view.getUint8(offset) >>> 4 === 4 ? IPV4_ADDRESSES : IPV6_ADDRESSES;
    const source = view.getUint32(offset + addresses.source);
    const destination = view.getUint32(offset + addresses.destination);
    // Where the ports and the sequence number are found, there is the TCP header.
    const end = Math.min(capturedLength, SEARCHED_BYTES) - TCP.opening;
    for (let at = SHORTEST_IP_HEADER; at <= end; at += HEADER_UNIT) {
      const name = nameOf(
        source,
        destination,
        view.getUint16(offset + at + TCP.sourcePort),
        view.getUint16(offset + at + TCP.destinationPort),
        view.getUint32(offset + at + TCP.sequence),
      );
      const ended = this.#waiting.get(name);
      if (ended === undefined) continue;
      this.#waiting.delete(name);
      ended.forEach(tell);
      return;
    }
  }

  /** Tells what waited already at the last call: the ring has dropped its SYN. Not to be called within 100 ms. */
  tellOverdue(tell: TellEnded): void {
    for (const name of this.#overdue) {
      this.#waiting.get(name)?.forEach(tell);
      this.#waiting.delete(name);
    }
    this.#overdue = new Set(this.#waiting.keys());
  }

  /** Tells everything: nothing is to come. */
  tellAll(tell: TellEnded): void {
    for (const ended of this.#waiting.values()) ended.forEach(tell);
    this.#waiting.clear();
  }
}

/** The same for both directions; of addresses the last words. */
function nameOf(
  oneWord: number,
  otherWord: number,
  onePort: number,
  otherPort: number,
  sequence: number,
): string {
  return `${oneWord ^ otherWord} ${Math.min(onePort, otherPort)} ${Math.max(onePort, otherPort)} ${sequence}`;
}
