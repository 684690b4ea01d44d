/**
 * Where the tunnels end that packets come in. What somebody wraps into a tunnel reaches a host only where an interface
 * unwraps it; everything else is bytes that nobody reads, and may be forged as a whole.
 */
import type { TunnelInterface } from '../capture/linux/tunnel-interfaces.ts';
import type { Packet } from '../decode/packet.ts';
import { prefixContains, sameAddress, type Address } from '../../common/address.ts';
import type { TrustedTunnel } from '../../common/tunnel.ts';

/**
 * - `here`: an interface of this machine ends the tunnel, and its inside is captured there, too
 * - `trusted`: an interface of this machine or the rules end it: its inside is plain traffic
 * - `elsewhere`: nobody that we know of ends it
 */
export type TunnelPlace = 'here' | 'trusted' | 'elsewhere';

export interface TunnelEndsOptions {
  /** The interfaces as they are now; asked again now and then, so that it should be cheap. */
  readonly interfaces: () => readonly TunnelInterface[];
  readonly isLocal: (address: Address) => boolean;
  /** Whether packets are captured on all interfaces, so that what an interface unwraps is seen on it. */
  readonly isUnwrappedSeen: boolean;
}

/** Tunnels that are remembered; with more of them the oldest are looked up again. */
const MAX_REMEMBERED = 4096;

export class TunnelEnds {
  readonly #options: TunnelEndsOptions | undefined;
  /** By `Packet.tunnelKey`. */
  readonly #places = new Map<number, TunnelPlace>();
  #trusted: readonly TrustedTunnel[];
  #interfaces: readonly TunnelInterface[];

  /** @param options left out in a replay, where no interface ends anything */
  constructor(trusted: readonly TrustedTunnel[], options?: TunnelEndsOptions) {
    this.#options = options;
    this.#trusted = trusted;
    this.#interfaces = options?.interfaces() ?? [];
  }

  /** Where the tunnel of a packet ends that came in one. */
  placeOf(packet: Packet): TunnelPlace {
    const known = this.#places.get(packet.tunnelKey);
    if (known !== undefined) return known;
    const place = this.#lookUp(packet);
    if (this.#places.size >= MAX_REMEMBERED) {
      for (const oldest of this.#places.keys()) {
        this.#places.delete(oldest);
        break;
      }
    }
    this.#places.set(packet.tunnelKey, place);
    return place;
  }

  /** The same of packets that the kernel counted, the first of which came up before. */
  placeOfKey(tunnelKey: number): TunnelPlace {
    return this.#places.get(tunnelKey) ?? 'elsewhere';
  }

  setTrusted(trusted: readonly TrustedTunnel[]): void {
    this.#trusted = trusted;
    this.#places.clear();
  }

  /** Reads the interfaces again; to be called now and then. */
  refresh(): void {
    if (this.#options === undefined) return;
    const interfaces = this.#options.interfaces();
    if (namesOf(interfaces) !== namesOf(this.#interfaces)) this.#places.clear();
    this.#interfaces = interfaces;
  }

  #lookUp(packet: Packet): TunnelPlace {
    // Of tunnels in one another each would have to end here.
    if (packet.tunnelDepth !== 1 || packet.tunnel === 'none') return 'elsewhere';
    const source = outerSource(packet);
    const destination = outerDestination(packet);
    const { tunnel, outerTunnelId } = packet;
    const isOurs = this.#interfaces.some(
      (end) =>
        end.types.includes(tunnel) &&
        (end.id === undefined || end.id === outerTunnelId) &&
        (this.#joins(end, source, destination) || this.#joins(end, destination, source)),
    );
    if (isOurs) return this.#options?.isUnwrappedSeen === true ? 'here' : 'trusted';
    const isTrusted = this.#trusted.some(
      ({ type, id, ends }) =>
        type === tunnel &&
        (id === undefined || id === outerTunnelId) &&
        [source, destination].every((end) =>
          ends.some((prefix) => prefixContains(prefix, end.w0, end.w1, end.w2, end.w3)),
        ),
    );
    return isTrusted ? 'trusted' : 'elsewhere';
  }

  #joins(end: TunnelInterface, local: Address, remote: Address): boolean {
    const isLocal = end.local === undefined ? this.#options?.isLocal(local) : sameAddress(end.local, local);
    return isLocal === true && (end.remote === undefined || sameAddress(end.remote, remote));
  }
}

function namesOf(interfaces: readonly TunnelInterface[]): string {
  return JSON.stringify(interfaces);
}

function outerSource(packet: Packet): Address {
  return {
    w0: packet.outerSource0,
    w1: packet.outerSource1,
    w2: packet.outerSource2,
    w3: packet.outerSource3,
  };
}

function outerDestination(packet: Packet): Address {
  return {
    w0: packet.outerDestination0,
    w1: packet.outerDestination1,
    w2: packet.outerDestination2,
    w3: packet.outerDestination3,
  };
}
