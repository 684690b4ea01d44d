/**
 * Where the tunnels end that packets come in. What somebody wraps into a tunnel reaches a host only where an interface
 * unwraps it; everything else is bytes that nobody reads, and may be forged as a whole.
 */
import type { TunnelInterface } from '../capture/linux/tunnel-interfaces.ts';
import type { Packet } from '../decode/packet.ts';
import { outerDestinationOf, outerSourceOf } from '../decode/tunnel.ts';
import { prefixContains, sameAddress, type Address } from '../../common/address.ts';
import type { TrustedTunnel, TunnelType } from '../../common/tunnel.ts';

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

/** Tunnels of each kind that are remembered: those that end here or are trusted, and all others. */
const MAX_REMEMBERED = 4096;

/** What is known of a tunnel, for looking it up again when interfaces or rules have changed. */
interface KnownTunnel {
  readonly type: TunnelType;
  readonly id: number;
  readonly source: Address;
  readonly destination: Address;
  readonly place: TunnelPlace;
}

export class TunnelEnds {
  readonly #options: TunnelEndsOptions | undefined;
  /** By `Packet.tunnelKey`: what ends at a place that we know, and apart from it what anybody can invent. */
  readonly #ended = new Map<number, KnownTunnel>();
  readonly #elsewhere = new Map<number, KnownTunnel>();
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
    const { tunnelKey, tunnel, tunnelDepth, outerTunnelId } = packet;
    const known = this.#ended.get(tunnelKey) ?? this.#elsewhere.get(tunnelKey);
    if (known !== undefined) return known.place;
    // Of tunnels in one another each would have to end here.
    if (tunnelDepth !== 1 || tunnel === 'none') return 'elsewhere';
    const facts = {
      type: tunnel,
      id: outerTunnelId,
      source: outerSourceOf(packet),
      destination: outerDestinationOf(packet),
    };
    return this.#remember(tunnelKey, facts);
  }

  /** The same of packets that the kernel counted, the first of which came up before. */
  placeOfKey(tunnelKey: number): TunnelPlace {
    const known = this.#ended.get(tunnelKey);
    if (known === undefined) return 'elsewhere';
    // Nothing else tells of it as long as it stays in the kernel: it must not give way to what others invent.
    this.#ended.delete(tunnelKey);
    this.#ended.set(tunnelKey, known);
    return known.place;
  }

  setTrusted(trusted: readonly TrustedTunnel[]): void {
    this.#trusted = trusted;
    this.#lookUpAgain();
  }

  /** Reads the interfaces again; to be called now and then. */
  refresh(): void {
    if (this.#options === undefined) return;
    const interfaces = this.#options.interfaces();
    const isChanged = namesOf(interfaces) !== namesOf(this.#interfaces);
    this.#interfaces = interfaces;
    if (isChanged) this.#lookUpAgain();
  }

  #lookUpAgain(): void {
    const all = [...this.#elsewhere, ...this.#ended];
    this.#ended.clear();
    this.#elsewhere.clear();
    for (const [tunnelKey, facts] of all) this.#remember(tunnelKey, facts);
  }

  #remember(tunnelKey: number, facts: Omit<KnownTunnel, 'place'>): TunnelPlace {
    const place = this.#lookUp(facts);
    const tunnels = place === 'elsewhere' ? this.#elsewhere : this.#ended;
    const [oldest] = tunnels.keys();
    if (oldest !== undefined && tunnels.size >= MAX_REMEMBERED) tunnels.delete(oldest);
    tunnels.set(tunnelKey, { ...facts, place });
    return place;
  }

  #lookUp({ type, id, source, destination }: Omit<KnownTunnel, 'place'>): TunnelPlace {
    const isOurs = this.#interfaces.some(
      (end) =>
        end.types.includes(type) &&
        (end.id === undefined || end.id === id) &&
        (this.#joins(end, source, destination) || this.#joins(end, destination, source)),
    );
    if (isOurs) return this.#options?.isUnwrappedSeen === true ? 'here' : 'trusted';
    const isTrusted = this.#trusted.some(
      (trusted) =>
        trusted.type === type &&
        (trusted.id === undefined || trusted.id === id) &&
        [source, destination].every((end) =>
          trusted.ends.some((prefix) => prefixContains(prefix, end.w0, end.w1, end.w2, end.w3)),
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
