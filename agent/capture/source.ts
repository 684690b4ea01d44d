/**
 * Where packets come from. A file, the kernel's ring and libpcap all look like this, so that replay is the live
 * pipeline with another source.
 */

/**
 * One captured frame. The source owns the record and overwrites it for the next frame, and the bytes it points to
 * are borrowed: both are valid only until the sink's `frame` returns. All fields are set for every frame.
 */
export class Frame {
  /** The bytes; the frame starts at `offset`. */
  view: DataView = new DataView(new ArrayBuffer(0));
  offset = 0;
  /** Bytes that are there. */
  capturedLength = 0;
  /** Bytes that were on the wire, link header included. */
  originalLength = 0;
  /** Kernel or file time: whole seconds since the epoch. */
  seconds = 0;
  nanoseconds = 0;
  /** LINKTYPE_ value of the pcap registry: what the first header is. */
  linkType = 0;
  /** Interface index of the kernel, or the number of the interface in a pcapng file; 0 where unknown. */
  interfaceIndex = 0;
  /** Whether the kernel has counted this frame: it will be, or was, in a `FlowCounts`, and is not to be counted here. */
  isCounted = false;
  /**
   * Where in `view` the six bytes of the sender's hardware address are, in sources that hand over packets without their
   * link header; 0 where the frame has its link header, or no such address.
   */
  linkAddressOffset = 0;
  /** One more than the number of the VLAN whose tag the source has taken out of the frame; 0 for none. */
  strippedVlan = 0;
}

/**
 * What a source that counts in the kernel has counted of one direction of a flow since it last told. The source owns
 * the record and overwrites it: it is valid only until the sink's `counts` returns.
 */
export class FlowCounts {
  /** The addresses as four signed words, IPv4 as ::ffff:a.b.c.d (see common/address.ts). */
  source0 = 0;
  source1 = 0;
  source2 = 0;
  source3 = 0;
  destination0 = 0;
  destination1 = 0;
  destination2 = 0;
  destination3 = 0;
  sourcePort = 0;
  destinationPort = 0;
  /** `Packet.tunnelKey` of the packets. */
  tunnelKey = 0;
  /** Packets as they were on the wire, also where the kernel handled many as one. */
  packets = 0;
  /** Their bytes on the wire, link headers included. */
  bytes = 0;
  payloadBytes = 0;
  /** All flags that the kernel has seen in this direction, also before. */
  tcpFlags = 0;
  /** When the last of the packets came: whole seconds since the epoch, exact to some milliseconds. */
  seconds = 0;
  nanoseconds = 0;
  /** The interface that this direction is counted on. */
  interfaceIndex = 0;
}

/** One direction of a flow. */
export type FlowEndpoints = Readonly<
  Pick<
    FlowCounts,
    `source${0 | 1 | 2 | 3}` | `destination${0 | 1 | 2 | 3}` | 'sourcePort' | 'destinationPort' | 'tunnelKey'
  >
>;

/** Who takes the frames. */
export interface FrameSink {
  /** Called for each frame, synchronously. Must not throw, and must not keep `frame` or its bytes. */
  frame(frame: Frame): void;
  /**
   * Called by sources that count in the kernel, about twice a second for each direction of a flow that carried
   * something, after the frame that opened it. Must not throw, and must not keep `counts`.
   */
  counts(counts: FlowCounts): void;
  /** Called after each block of frames or counts: the place for work that is too much for every frame. */
  blockEnd(): void;
}

/** What a source knows of its own losses. `null` says that it cannot know. */
export interface CaptureCounters {
  /** Frames that passed the filter, dropped ones and those that were counted in the kernel included. */
  readonly received: number;
  /** Frames that passed the filter and were lost before the sink saw them. */
  readonly dropped: number | null;
  /** Packets that found no room in the kernel's flow table: they were handed up and counted here, at a higher price. */
  readonly overflowed: number;
}

export interface PacketSource {
  /** True while the interface is down or away and no packet can come; sources that cannot know leave it out. */
  readonly isDown?: boolean;
  /** For people and heartbeats: `kernel`, `ring`, `cap`, `file`. */
  readonly name: string;
  /**
   * Delivers frames until the source ends or `stop` is called, and resolves after the last one. Rejects with a
   * `PlasmawatchError` when the source fails; frames before the fault have been delivered.
   */
  run(sink: FrameSink): Promise<void>;
  /** Ends `run` soon; safe to call at any time and twice. */
  stop(): void;
  /** Totals since the source was opened. */
  counters(): CaptureCounters;
  /**
   * Replaces the ports that a live source lets pass: at once, with libpcap after some milliseconds. Files deliver
   * everything and ignore it.
   */
  setPorts(ports: PortSet): void;
  /**
   * Asks for packets of one direction of a flow that the source would otherwise only count: the next `packets` of
   * them come up as frames, from a few microseconds after the call on. 0 ends it, `Infinity` lasts as long as the flow.
   * Whatever comes up, `FrameSink` is told the same counts. Where more than 1,024 directions are wanted at a time, the
   * one that was asked for first gives way. Sources that deliver every packet ignore it.
   */
  wantPackets(flow: FlowEndpoints, packets: number): void;
  /**
   * Asks for the first `packets` of each direction of every flow, for who wants to see how connections begin before it
   * can know which of them matter: a verdict takes some 40 ms. At the least, and at first, it is 1. Sources that
   * deliver every packet ignore it.
   */
  wantFirstPackets(packets: number): void;
  /** Name of an interface by `Frame.interfaceIndex`, where known. */
  interfaceName(index: number): string | undefined;
}

/** TCP ports to watch: a table of 65,536 flags, so that the packet path asks by index. */
export class PortSet {
  readonly #flags = new Uint8Array(65_536);
  #size = 0;

  /** @param ports numbers from 0 to 65,535 */
  constructor(ports: Iterable<number> = []) {
    for (const port of ports) this.add(port);
  }

  add(port: number): void {
    if (this.#flags[port] === 0) this.#size++;
    this.#flags[port] = 1;
  }

  has(port: number): boolean {
    return this.#flags[port] === 1;
  }

  get size(): number {
    return this.#size;
  }

  /** Whether both sets hold the same ports. */
  equals(other: PortSet): boolean {
    return (
      this.#size === other.#size && this.ranges().every(({ first, last }) => other.#coversRange(first, last))
    );
  }

  /** The ports as ranges in rising order, both ends included. */
  ranges(): { first: number; last: number }[] {
    const ranges: { first: number; last: number }[] = [];
    for (let port = 0; port < 65_536; port++) {
      if (this.#flags[port] !== 1) continue;
      const current = ranges.at(-1);
      if (current !== undefined && current.last === port - 1) current.last = port;
      else ranges.push({ first: port, last: port });
    }
    return ranges;
  }

  #coversRange(first: number, last: number): boolean {
    for (let port = first; port <= last; port++) if (this.#flags[port] !== 1) return false;
    return true;
  }
}
