/** TCP over IPv4 made by hand, fed to a sink frame by frame: for tests of what comes after the decoder. */
import { Frame, type FrameSink } from '../../agent/capture/source.ts';

const LINKTYPE_RAW = 101;
const FLAGS = { syn: 0x02, 'syn-ack': 0x12, ack: 0x10, fin: 0x11, rst: 0x04 } as const;

interface Packet {
  /** `10.0.0.1:5000`. */
  readonly from: string;
  readonly to: string;
  readonly flags: keyof typeof FLAGS;
  readonly payloadLength?: number;
  /** Seconds since the epoch, with a fraction. */
  readonly time?: number;
  readonly sequence?: number;
  readonly acknowledgment?: number;
}

/** Hands one packet to the sink. */
export function sendPacket(
  sink: FrameSink,
  { from, to, flags, payloadLength = 0, time = 0, sequence = 1, acknowledgment = 0 }: Packet,
): void {
  const length = 40 + payloadLength;
  const view = new DataView(new ArrayBuffer(length));
  const [sourceAddress, sourcePort] = endpoint(from);
  const [destinationAddress, destinationPort] = endpoint(to);
  view.setUint8(0, 0x45);
  view.setUint16(2, length);
  view.setUint8(8, 64);
  view.setUint8(9, 6);
  view.setUint32(12, sourceAddress);
  view.setUint32(16, destinationAddress);
  view.setUint16(20, sourcePort);
  view.setUint16(22, destinationPort);
  view.setUint32(24, sequence);
  view.setUint32(28, acknowledgment);
  view.setUint8(32, 5 << 4);
  view.setUint8(33, FLAGS[flags]);
  const frame = new Frame();
  frame.view = view;
  frame.capturedLength = length;
  frame.originalLength = length;
  frame.linkType = LINKTYPE_RAW;
  frame.seconds = Math.floor(time);
  frame.nanoseconds = Math.round((time % 1) * 1e9);
  sink.frame(frame);
}

type Connection = Pick<Packet, 'from' | 'to' | 'time' | 'payloadLength'>;

/** A handshake: three packets, 120 bytes. */
export function sendHandshake(sink: FrameSink, { from, to, time = 0 }: Connection): void {
  sendPacket(sink, { from, to, time, flags: 'syn' });
  sendPacket(sink, { from: to, to: from, time, flags: 'syn-ack', acknowledgment: 2 });
  sendPacket(sink, { from, to, time, flags: 'ack', sequence: 2, acknowledgment: 2 });
}

/** A handshake and its end: six packets, 240 bytes and the payload of the initiator. */
export function sendConnection(sink: FrameSink, { from, to, time = 0, payloadLength = 0 }: Connection): void {
  sendHandshake(sink, { from, to, time });
  sendPacket(sink, { from, to, time, flags: 'ack', sequence: 2, acknowledgment: 2, payloadLength });
  sendPacket(sink, { from, to, time, flags: 'fin', sequence: 2 + payloadLength, acknowledgment: 2 });
  sendPacket(sink, { from: to, to: from, time, flags: 'fin', sequence: 2, acknowledgment: 2 });
}

function endpoint(text: string): [address: number, port: number] {
  const [address = '', port] = text.split(':');
  const value = address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
  return [value, Number(port)];
}
