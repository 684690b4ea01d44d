/** What the program of flow-program.ts and user space share: keys and values of its maps. */
import type { FlowCounts, FlowEndpoints } from '../source.ts';
import { HOST_IS_LITTLE_ENDIAN } from './constants.ts';

/** A direction of a flow: addresses as 16 bytes (IPv4 mapped into IPv6) and ports, in network byte order; its tunnel; its interface. */
export const FLOW_KEY = {
  size: 48,
  source: 0,
  destination: 16,
  sourcePort: 32,
  destinationPort: 34,
  /** `Packet.tunnelKey`, in the machine's byte order. */
  tunnel: 36,
  /** In the machine's byte order; 0 in the map of wanted flows. The rest is 0. */
  interfaceIndex: 40,
} as const;

/** What is known of a direction; numbers in the machine's byte order. */
export const FLOW_VALUE = {
  size: 64,
  /** On the wire; 64 bits, as the next five. */
  packets: 0,
  /** From the network header on, with all VLAN tags; without the link header, whose length the program cannot know. */
  bytes: 8,
  payloadBytes: 16,
  /** CLOCK_MONOTONIC_COARSE, in nanoseconds. */
  first: 24,
  last: 32,
  /** Unique in the life of the table. */
  id: 40,
  /** 32 bits, as the next two. */
  interfaceIndex: 48,
  tcpFlags: 52,
  /** How many went up because they are among the first. */
  firstPackets: 56,
  /** In ENDED_FLOW only: the sequence number of the SYN that ended the flow, as on the wire. */
  nextSequence: 60,
} as const;

/** A direction of a flow that is over: a new connection has begun between its ends. */
export const ENDED_FLOW = { size: 112, value: 0, key: 64 } as const;

/** How many packets of a direction are to go up, and how many did; 32 bits each. */
export const WANTED = { size: 8, limit: 0, handedUp: 4 } as const;

/** What user space tells the program: 32 bits each. */
export const FLOW_CONTROL = { size: 12, sampleEvery: 0, wantedCount: 4, firstPackets: 8 } as const;

/** What the program tells: 64 bits each. */
export const FLOW_STATISTICS = { size: 16, nextId: 0, overflowed: 8 } as const;

/** Descriptors of the program's maps. */
export interface FlowMaps {
  /** FLOW_KEY to FLOW_VALUE. */
  readonly flows: number;
  /** A queue of ENDED_FLOW. */
  readonly ended: number;
  /** FLOW_KEY to WANTED: the flows whose packets user space wants. */
  readonly wanted: number;
  /** An array of 65,536 numbers of 32 bits: not 0 where the port is watched. */
  readonly ports: number;
  /** One FLOW_CONTROL. */
  readonly control: number;
  /** One FLOW_STATISTICS. */
  readonly statistics: number;
}

/** Fills in the endpoints out of the FLOW_KEY at `offset`. */
export function readEndpoints(counts: FlowCounts, keys: DataView, offset: number): void {
  counts.source0 = keys.getInt32(offset + FLOW_KEY.source);
  counts.source1 = keys.getInt32(offset + FLOW_KEY.source + 4);
  counts.source2 = keys.getInt32(offset + FLOW_KEY.source + 8);
  counts.source3 = keys.getInt32(offset + FLOW_KEY.source + 12);
  counts.destination0 = keys.getInt32(offset + FLOW_KEY.destination);
  counts.destination1 = keys.getInt32(offset + FLOW_KEY.destination + 4);
  counts.destination2 = keys.getInt32(offset + FLOW_KEY.destination + 8);
  counts.destination3 = keys.getInt32(offset + FLOW_KEY.destination + 12);
  counts.sourcePort = keys.getUint16(offset + FLOW_KEY.sourcePort);
  counts.destinationPort = keys.getUint16(offset + FLOW_KEY.destinationPort);
  counts.tunnelKey = keys.getInt32(offset + FLOW_KEY.tunnel, HOST_IS_LITTLE_ENDIAN);
}

/** Writes a FLOW_KEY. */
export function writeEndpoints(key: DataView, flow: FlowEndpoints): void {
  key.setInt32(FLOW_KEY.source, flow.source0);
  key.setInt32(FLOW_KEY.source + 4, flow.source1);
  key.setInt32(FLOW_KEY.source + 8, flow.source2);
  key.setInt32(FLOW_KEY.source + 12, flow.source3);
  key.setInt32(FLOW_KEY.destination, flow.destination0);
  key.setInt32(FLOW_KEY.destination + 4, flow.destination1);
  key.setInt32(FLOW_KEY.destination + 8, flow.destination2);
  key.setInt32(FLOW_KEY.destination + 12, flow.destination3);
  key.setUint16(FLOW_KEY.sourcePort, flow.sourcePort);
  key.setUint16(FLOW_KEY.destinationPort, flow.destinationPort);
  key.setInt32(FLOW_KEY.tunnel, flow.tunnelKey, HOST_IS_LITTLE_ENDIAN);
}

/** Copies the FLOW_KEY at `offset` to the start of another view. */
export function copyKey(to: DataView, from: DataView, offset: number): void {
  for (let word = 0; word < FLOW_KEY.size; word += 4) to.setUint32(word, from.getUint32(offset + word));
}

/** A number of 64 bits as a double: exact below 2^53. */
export function getCount(view: DataView, offset: number): number {
  const low = view.getUint32(offset + (HOST_IS_LITTLE_ENDIAN ? 0 : 4), HOST_IS_LITTLE_ENDIAN);
  const high = view.getUint32(offset + (HOST_IS_LITTLE_ENDIAN ? 4 : 0), HOST_IS_LITTLE_ENDIAN);
  return high * 2 ** 32 + low;
}
