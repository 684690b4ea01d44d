/**
 * Tazmen Sniffer Protocol: frames that a router or an access point mirrors, in UDP. There is no standard; as MikroTik
 * writes it and tcpdump's and Wireshark's authors describe it.
 */
import type { Packet, Step } from './packet.ts';
import { enterTunnel } from './tunnel.ts';

const VERSION = 0;
const TYPE = 1;
const ENCAPSULATION = 2;
const HEADER_LENGTH = 4;
const KNOWN_VERSION = 1;
/** A received packet, and one for sending; the others keep the tunnel alive or set it up. */
const TYPE_RECEIVED = 0;
const TYPE_TO_SEND = 1;

const ENCAPSULATION_ETHERNET = 1;
const ENCAPSULATION_PPP = 4;
const ENCAPSULATION_FDDI = 5;
const ENCAPSULATION_RAW_IP = 7;
const ENCAPSULATION_IEEE802_11 = 18;

/** Tagged fields follow the header: a type, a length, a value. The first two types have no length. */
const TAG_PADDING = 0;
const TAG_END = 1;
const TAG_LENGTH = 1;
const TAG_HEADER_LENGTH = 2;
/** More than the kinds that there are. */
const MAX_TAGS = 32;

/** Moves to the mirrored frame. */
export function decodeTzsp(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < HEADER_LENGTH) return 'truncated';
  if (view.getUint8(offset + VERSION) !== KNOWN_VERSION) return 'not-tcp';
  const type = view.getUint8(offset + TYPE);
  if (type !== TYPE_RECEIVED && type !== TYPE_TO_SEND) return 'not-tcp';
  const encapsulation = view.getUint16(offset + ENCAPSULATION);
  packet.offset = offset + HEADER_LENGTH;
  const fault = stepOverTags(view, packet);
  if (fault !== undefined) return fault;
  enterTunnel(packet, 'tzsp');
  switch (encapsulation) {
    case ENCAPSULATION_ETHERNET:
      return 'ethernet';
    case ENCAPSULATION_PPP:
      return 'ppp';
    case ENCAPSULATION_FDDI:
      return 'fddi';
    case ENCAPSULATION_RAW_IP:
      return 'ip';
    case ENCAPSULATION_IEEE802_11:
      return 'ieee802-11';
    default:
      return 'not-ip';
  }
}

/** Moves behind the last tag; what is wrong with them, if anything is. */
function stepOverTags(view: DataView, packet: Packet): 'truncated' | 'malformed' | undefined {
  let { offset } = packet;
  for (let count = 0; count < MAX_TAGS; count++) {
    if (packet.capturedEnd <= offset) return 'truncated';
    const tag = view.getUint8(offset);
    if (tag === TAG_END) {
      packet.offset = offset + 1;
      return undefined;
    }
    if (tag === TAG_PADDING) {
      offset++;
      continue;
    }
    if (packet.capturedEnd - offset < TAG_HEADER_LENGTH) return 'truncated';
    offset += TAG_HEADER_LENGTH + view.getUint8(offset + TAG_LENGTH);
  }
  return 'malformed';
}
