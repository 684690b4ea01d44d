/** Anything In Anything, IPv6 from a tunnel broker: draft-massar-v6ops-ayiya-02, section 3. */
import { headerOfProtocol } from './ip-packet.ts';
import type { Packet, Step } from './packet.ts';
import { enterTunnel } from './tunnel.ts';

/** Four bits each: the length of the identity as a power of two, its type, the length of the signature in words, … */
const IDENTITY_LENGTH_AND_TYPE = 0;
const SIGNATURE_LENGTH_AND_METHOD = 1;
const AUTHENTICATION_AND_OPERATION = 2;
const NEXT_HEADER = 3;
const HEADER_LENGTH = 8;
const OPERATION_MASK = 0x0f;
const OPERATION_FORWARD = 1;

/** Moves to the IP packet in the tunnel. */
export function decodeAyiya(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < HEADER_LENGTH) return 'truncated';
  if ((view.getUint8(offset + AUTHENTICATION_AND_OPERATION) & OPERATION_MASK) !== OPERATION_FORWARD)
    return 'not-tcp';
  const identityLength = 2 ** (view.getUint8(offset + IDENTITY_LENGTH_AND_TYPE) >>> 4);
  const signatureLength = (view.getUint8(offset + SIGNATURE_LENGTH_AND_METHOD) >>> 4) * 4;
  packet.offset = offset + HEADER_LENGTH + identityLength + signatureLength;
  enterTunnel(packet, 'ayiya');
  return headerOfProtocol(packet, view.getUint8(offset + NEXT_HEADER));
}
