/** What all tunnels share. */
import type { TunnelType } from '../../common/tunnel.ts';
import type { Packet } from './packet.ts';

/**
 * Notes that what follows is inside a tunnel between the two addresses just read. In a tunnel within a tunnel the
 * addresses of the outermost are kept: they are the peers that are seen on the wire here.
 */
export function enterTunnel(packet: Packet, type: TunnelType): void {
  if (packet.tunnel === 'none') {
    packet.outerSource0 = packet.source0;
    packet.outerSource1 = packet.source1;
    packet.outerSource2 = packet.source2;
    packet.outerSource3 = packet.source3;
    packet.outerDestination0 = packet.destination0;
    packet.outerDestination1 = packet.destination1;
    packet.outerDestination2 = packet.destination2;
    packet.outerDestination3 = packet.destination3;
  }
  packet.tunnel = type;
}
