/** The capture that bench/replay reads: TCP packets of one size, many connections mixed, all to one port. */
import { closeSync, openSync, writeSync } from 'node:fs';

/** The port that every connection goes to, so that a filter for it lets everything pass. */
export const PORT = 43_800;

const ETHERNET_LENGTH = 14;
const IPV4_LENGTH = 20;
const TCP_LENGTH = 20;
const FILE_HEADER_LENGTH = 24;
const RECORD_HEADER_LENGTH = 16;

const SYN = 0x02;
const SYN_ACK = 0x12;
const ACK = 0x10;
const PUSH_ACK = 0x18;

const PACKETS_A_WRITE = 10_000;
const FIRST_SECOND = 1_700_000_000;
/** Microseconds from packet to packet: 2,000,000 take 20 s, less than any tool's time limit for a quiet flow. */
const INTERVAL_US = 10;

/**
 * Writes a little-endian pcap file. Each connection has a handshake, then data from the initiator. The order tells
 * how much of a tool's memory is at hand when the next packet comes: `runs` has each connection's packets one after
 * the other, `rounds` one of each connection in turn, `mixed` draws the connection of each packet.
 *
 * @param path is replaced
 * @param shape `packets` in all, in `flows` connections, of `packetBytes` each; the order
 */
export function writeCapture(path, { packets, flows, packetBytes, order }) {
  const flowAt = flowOrder(order, packets, flows);
  const file = openSync(path, 'w');
  try {
    writeSync(file, fileHeader());
    const connections = new Connections(flows);
    const recordLength = RECORD_HEADER_LENGTH + packetBytes;
    const bytes = new Uint8Array(PACKETS_A_WRITE * recordLength);
    const view = new DataView(bytes.buffer);
    for (let written = 0; written < packets; written += PACKETS_A_WRITE) {
      const count = Math.min(PACKETS_A_WRITE, packets - written);
      for (let i = 0; i < count; i++) {
        const number = written + i;
        writeRecordHeader(view, i * recordLength, number, packetBytes);
        connections.writeNext(view, i * recordLength + RECORD_HEADER_LENGTH, flowAt(number), packetBytes);
      }
      writeSync(file, bytes, 0, count * recordLength);
    }
  } finally {
    closeSync(file);
  }
}

/** Which connection the packet of a number belongs to. */
function flowOrder(order, packets, flows) {
  const draw = randomNumbers(1);
  switch (order) {
    case 'runs':
      return (number) => Math.floor((number * flows) / packets);
    case 'rounds':
      return (number) => number % flows;
    case 'mixed':
      // The first packets open all connections.
      return (number) => (number < flows ? number : draw() % flows);
    default:
      throw new Error(`no such order: ${order}; one of runs, rounds, mixed`);
  }
}

/** Where each connection stands. */
class Connections {
  #packets;
  #sent;

  constructor(flows) {
    this.#packets = new Uint32Array(flows);
    this.#sent = new Uint32Array(flows);
  }

  writeNext(view, offset, flow, packetBytes) {
    const number = this.#packets[flow]++;
    const payload = packetBytes - ETHERNET_LENGTH - IPV4_LENGTH - TCP_LENGTH;
    const client = { address: 0x0a00_0000 + (flow >>> 8), port: 20_000 + (flow & 0xff) };
    const server = { address: 0x0ac8_0000 + (flow & 0x3f), port: PORT };
    const start = (flow * 2_654_435_761) >>> 0;
    if (number === 1) {
      const segment = { flags: SYN_ACK, sequence: ~start >>> 0, acknowledgment: start + 1 };
      writePacket(view, offset, server, client, segment, packetBytes);
      return;
    }
    const isSyn = number === 0;
    const isAck = number === 2;
    const sequence = isSyn ? start : start + 1 + this.#sent[flow];
    const flags = isSyn ? SYN : isAck ? ACK : PUSH_ACK;
    if (flags === PUSH_ACK) this.#sent[flow] += payload;
    const segment = { flags, sequence, acknowledgment: isSyn ? 0 : ~start + 1 };
    writePacket(view, offset, client, server, segment, packetBytes);
  }
}

function fileHeader() {
  const view = new DataView(new ArrayBuffer(FILE_HEADER_LENGTH));
  view.setUint32(0, 0xa1b2c3d4, true);
  view.setUint16(4, 2, true);
  view.setUint16(6, 4, true);
  view.setUint32(16, 262_144, true);
  view.setUint32(20, 1, true);
  return new Uint8Array(view.buffer);
}

function writeRecordHeader(view, offset, number, packetBytes) {
  const us = number * INTERVAL_US;
  view.setUint32(offset, FIRST_SECOND + Math.floor(us / 1e6), true);
  view.setUint32(offset + 4, us % 1e6, true);
  view.setUint32(offset + 8, packetBytes, true);
  view.setUint32(offset + 12, packetBytes, true);
}

/** Handshake segments are padded to the same length by what follows the IP packet, as short frames are. */
function writePacket(view, offset, source, destination, { flags, sequence, acknowledgment }, packetBytes) {
  const ipLength = flags === PUSH_ACK ? packetBytes - ETHERNET_LENGTH : IPV4_LENGTH + TCP_LENGTH;
  view.setUint16(offset + 12, 0x0800);
  const ip = offset + ETHERNET_LENGTH;
  view.setUint16(ip, 0x4500);
  view.setUint16(ip + 2, ipLength);
  view.setUint32(ip + 4, 0x4000);
  view.setUint16(ip + 8, 0x4006);
  view.setUint32(ip + 12, source.address);
  view.setUint32(ip + 16, destination.address);
  const tcp = ip + IPV4_LENGTH;
  view.setUint16(tcp, source.port);
  view.setUint16(tcp + 2, destination.port);
  view.setUint32(tcp + 4, sequence);
  view.setUint32(tcp + 8, acknowledgment);
  view.setUint16(tcp + 12, 0x5000 | flags);
  view.setUint16(tcp + 14, 0xffff);
}

/** The same unsigned 32-bit numbers for the same seed (xorshift32; Marsaglia 2003). */
function randomNumbers(seed) {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}
