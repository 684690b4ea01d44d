/** Who put a frame on its segment: the hardware address, as far as the link header says it. For the first frame of a connection. */
import type { Frame } from '../capture/source.ts';
import { LINKTYPE_ETHERNET, LINKTYPE_LINUX_SLL2, LINKTYPE_RAW } from './link-type.ts';

const ETHERNET_SOURCE = 6;
const ETHERNET_TYPE = 12;
const COOKED_TYPE = 0;
const COOKED_INTERFACE = 4;
const COOKED_ADDRESS_LENGTH = 11;
const COOKED_ADDRESS = 12;
const COOKED_LENGTH = 20;
const MAC_LENGTH = 6;
const IPV4 = 0x0800;
const IPV6 = 0x86dd;
/** IEEE 802.1Q and 802.1ad. */
const VLANS: ReadonlySet<number> = new Set([0x8100, 0x88a8]);
const MAX_TAGS = 2;
const IPV4_TTL = 8;
const IPV6_HOP_LIMIT = 7;
/** What systems send with: a packet that still has it came through no router (RFC 1340; Windows sends 128, others 255). */
const FIRST_TTLS: ReadonlySet<number> = new Set([64, 128, 255]);

/** Filled for each frame that is asked about; to be read before the next one. */
export class LinkSource {
  /** 48 bits. */
  mac = 0;
  /** The interface, or its number in the capture, and the VLAN tags: frames of one segment have the same. */
  segment = 0;
  /** Whether no router has passed the packet on, as far as its time to live says. */
  isDirect = false;
}

/**
 * Reads the sender of the frame that carries a packet in no tunnel. Returns false where the link has no such address: then
 * `source` says nothing.
 */
export function readLinkSource(frame: Frame, source: LinkSource): boolean {
  if (frame.linkType === LINKTYPE_ETHERNET) return readEthernet(frame, source);
  // The live ring has the address beside the packet.
  if (frame.linkType === LINKTYPE_RAW) return frame.linkAddressOffset > 0 && readBeside(frame, source);
  // The first version of the cooked header names no interface: frames of several segments have the same one.
  return frame.linkType === LINKTYPE_LINUX_SLL2 && readCooked(frame, source);
}

function readEthernet({ view, offset, capturedLength, interfaceIndex }: Frame, source: LinkSource): boolean {
  let type = ETHERNET_TYPE;
  let tags = 0;
  for (let count = 0; count < MAX_TAGS; count++) {
    if (capturedLength < type + 6 || !VLANS.has(view.getUint16(offset + type))) break;
    tags = tags * 0x1000 + (view.getUint16(offset + type + 2) & 0xfff) + 1;
    type += 4;
  }
  if (capturedLength < type + 2) return false;
  source.mac =
    view.getUint16(offset + ETHERNET_SOURCE) * 2 ** 32 + view.getUint32(offset + ETHERNET_SOURCE + 2);
  source.segment = interfaceIndex + tags * 2 ** 24;
  return readTimeToLive(
    view,
    offset + type + 2,
    offset + capturedLength,
    view.getUint16(offset + type),
    source,
  );
}

function readBeside(
  { view, offset, capturedLength, interfaceIndex, linkAddressOffset, strippedVlan }: Frame,
  source: LinkSource,
): boolean {
  source.mac = view.getUint16(linkAddressOffset) * 2 ** 32 + view.getUint32(linkAddressOffset + 2);
  source.segment = interfaceIndex + strippedVlan * 2 ** 24;
  const type = capturedLength > 0 && view.getUint8(offset) >>> 4 === 6 ? IPV6 : IPV4;
  return readTimeToLive(view, offset, offset + capturedLength, type, source);
}

function readCooked({ view, offset, capturedLength }: Frame, source: LinkSource): boolean {
  if (capturedLength < COOKED_LENGTH || view.getUint8(offset + COOKED_ADDRESS_LENGTH) !== MAC_LENGTH)
    return false;
  source.mac =
    view.getUint16(offset + COOKED_ADDRESS) * 2 ** 32 + view.getUint32(offset + COOKED_ADDRESS + 2);
  source.segment = view.getUint32(offset + COOKED_INTERFACE);
  const type = view.getUint16(offset + COOKED_TYPE);
  return readTimeToLive(view, offset + COOKED_LENGTH, offset + capturedLength, type, source);
}

/** Loopback frames have no hardware address: all zeros. */
function readTimeToLive(
  view: DataView,
  start: number,
  end: number,
  type: number,
  source: LinkSource,
): boolean {
  const at = start + (type === IPV4 ? IPV4_TTL : IPV6_HOP_LIMIT);
  if ((type !== IPV4 && type !== IPV6) || at >= end || source.mac === 0) return false;
  source.isDirect = FIRST_TTLS.has(view.getUint8(at));
  return true;
}

/** `02:00:0a:4d:00:0c`. */
export function formatMac(mac: number): string {
  return (mac.toString(16).padStart(12, '0').match(/../g) ?? []).join(':');
}
