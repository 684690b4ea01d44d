/**
 * Linux cooked capture, what the `any` device writes instead of link headers.
 * https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html and LINKTYPE_LINUX_SLL2.html
 */
import { headerOfEtherType } from './ether-type.ts';
import type { Packet, Step } from './packet.ts';

const VERSION_1_PROTOCOL = 14;
const VERSION_1_LENGTH = 16;
const VERSION_2_PROTOCOL = 0;
const VERSION_2_LENGTH = 20;

/** ETH_P_802_2 of include/uapi/linux/if_ether.h: a frame with a length in place of a type. */
const IEEE_802_2 = 0x0004;

/** LINKTYPE_LINUX_SLL. */
export function decodeLinuxCooked1(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < VERSION_1_LENGTH) return 'truncated';
  packet.offset = offset + VERSION_1_LENGTH;
  return headerOfProtocol(view.getUint16(offset + VERSION_1_PROTOCOL));
}

/** LINKTYPE_LINUX_SLL2. */
export function decodeLinuxCooked2(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < VERSION_2_LENGTH) return 'truncated';
  packet.offset = offset + VERSION_2_LENGTH;
  return headerOfProtocol(view.getUint16(offset + VERSION_2_PROTOCOL));
}

function headerOfProtocol(protocol: number): Step {
  return protocol === IEEE_802_2 ? 'llc' : headerOfEtherType(protocol);
}
