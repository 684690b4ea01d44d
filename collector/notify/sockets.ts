/** The ways out of the collector besides HTTP, passed in so that nothing opens a socket by itself. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { connect, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';

export interface Sockets {
  connectTcp(options: { readonly host: string; readonly port: number }): Socket;
  connectTls(options: ConnectionOptions): TLSSocket;
  openUdp(family: 'udp4' | 'udp6'): UdpSocket;
}

/** The machine's. */
export const systemSockets: Sockets = {
  connectTcp: (options) => connect(options),
  connectTls: (options) => connectTls(options),
  openUdp: (family) => createSocket(family),
};
