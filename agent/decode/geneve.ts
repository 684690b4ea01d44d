/** Generic Network Virtualization Encapsulation: RFC 8926, section 3.4. */
import { headerOfEtherType } from './ether-type.ts';
import type { Packet, Step } from './packet.ts';
import { enterTunnel } from './tunnel.ts';

const VERSION_AND_OPTIONS_LENGTH = 0;
const PROTOCOL_TYPE = 2;
const IDENTIFIER = 4;
const HEADER_LENGTH = 8;

const VERSION_MASK = 0xc0;
/** In units of 4 bytes. */
const OPTIONS_LENGTH_MASK = 0x3f;

/** Moves behind the options, to what the protocol type names. */
export function decodeGeneve(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < HEADER_LENGTH) return 'truncated';
  const versionAndLength = view.getUint8(offset + VERSION_AND_OPTIONS_LENGTH);
  if ((versionAndLength & VERSION_MASK) !== 0) return 'not-tcp';
  packet.offset = offset + HEADER_LENGTH + (versionAndLength & OPTIONS_LENGTH_MASK) * 4;
  enterTunnel(packet, 'geneve', view.getUint32(offset + IDENTIFIER) >>> 8);
  return headerOfEtherType(view.getUint16(offset + PROTOCOL_TYPE));
}
