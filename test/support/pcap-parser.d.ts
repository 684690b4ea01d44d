/** The part of the npm package `pcap-parser` that tests use; the package brings no types. */
declare module 'pcap-parser' {
  import type { EventEmitter } from 'node:events';

  export interface PacketHeader {
    readonly timestampSeconds: number;
    readonly timestampMicroseconds: number;
    readonly capturedLength: number;
    readonly originalLength: number;
  }

  export interface Packet {
    readonly header: PacketHeader;
    readonly data: Buffer;
  }

  /** Emits `packet`, then `end`; or `error`. */
  export function parse(path: string): EventEmitter<{ packet: [Packet]; end: []; error: [Error] }>;
}
