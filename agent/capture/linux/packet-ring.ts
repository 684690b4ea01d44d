/**
 * Live capture through the kernel's packet ring: packet(7), networking/packet_mmap.rst, TPACKET_V3.
 *
 * The kernel writes packets of the watched ports into blocks of shared memory and hands a block over when it is full
 * or `BLOCK_TIMEOUT_MS` old. We read the packets in place and hand the block back. When the ring is full the kernel
 * drops and counts.
 *
 * The socket is a cooked one (SOCK_DGRAM): packets begin with the network header, whatever the interface, so one
 * socket serves all interfaces and the link type no longer matters. What the link header was is known by its length.
 *
 * Memory: the ring belongs to this source alone. Sinks see it through one DataView for as long as `frame` lasts;
 * `run` unmaps it when it ends, after the last reader.
 */
import type { Clock } from '../../../common/clock.ts';
import { PlasmawatchError } from '../../../common/errors.ts';
import type { Logger } from '../../../common/log.ts';
import {
  type CaptureCounters,
  type FlowEndpoints,
  Frame,
  type FrameSink,
  type PacketSource,
  PortSet,
} from '../source.ts';
import * as linux from './constants.ts';
import { Interfaces } from './interfaces.ts';
import { type Libc, loadLibc, type Mapping } from './libc.ts';
import { linkHeaderLength, LINKTYPE_RAW, VLAN_TAG_LENGTH, vlanTagsLength } from './link-header.ts';
import { buildPortFilter, encodeProgram } from './port-filter.ts';

/** Bytes of a packet that are kept: the longest IPv6 and TCP headers seen in practice, and the start of the payload. */
const SNAPLEN_BYTES = 512;
/** A block that is not full is handed over after this time: it bounds the latency of a verdict. */
const BLOCK_TIMEOUT_MS = 40;
/** Small blocks are found in fragmented memory, too. */
const BLOCK_SIZE_BYTES = 256 * 1024;
/** 32 MiB: more than 40 ms of half a million packets a second at the snaplen. */
const BLOCK_COUNT = 128;
/** The kernel wants a frame size although TPACKET_V3 packs packets densely. */
const FRAME_SIZE_BYTES = 2048;
/** 2 MiB of packets, some ms of work; then the event loop has its turn. */
const MAX_BLOCKS_A_TURN = 8;
/** How long one wait lasts without packets; a process that ends without `stop` waits that long. */
const POLL_TIMEOUT_MS = 500;

/** For people, in place of an interface's name. */
const ALL_INTERFACES = 'all interfaces';
/** Where the `sockaddr_ll` stands behind the header of a packet: TPACKET_ALIGN(sizeof(struct tpacket3_hdr)). */
const ADDRESS_OFFSET = linux.TPACKET3_HDR.size;

export interface PacketRingOptions {
  /** One interface by name; all interfaces without. */
  readonly interface?: string | undefined;
  readonly ports: PortSet;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Size of the ring, for tests that overrun it; a block is 256 KiB. */
  readonly blockCount?: number;
}

/**
 * Opens the ring. Packets count from here on, `run` delivers them.
 *
 * Fails with PW_CAPTURE_UNAVAILABLE without koffi, and with PW_SYSTEM_CALL and the error's name where the kernel
 * refuses: EPERM without CAP_NET_RAW, ENODEV for an unknown interface, ENOMEM for want of ring memory.
 */
export async function openPacketRing(options: PacketRingOptions): Promise<PacketSource> {
  const libc = await loadLibc();
  return openRing(libc, options, (socket, device) => new PortFilter(libc, socket, options.ports, device));
}

/** What decides in the kernel which packets come to a ring. It belongs to the ring, which closes it. */
export interface RingFilter {
  /** The name of the source that the ring is with this filter. */
  readonly name: string;
  /** Longer packets of which just so many bytes come are those that the filter has counted. 0: it counts none. */
  readonly countedSnaplenBytes: number;
  setPorts(ports: PortSet): void;
  /** See `PacketSource`, as the next one. */
  wantPackets(flow: FlowEndpoints, packets: number): void;
  wantFirstPackets(packets: number): void;
  /** Called when a block of the ring is there, before its first frame. */
  beforeBlock(): void;
  /** Called before each frame is delivered: for what has to be told first. */
  beforeFrame(frame: Frame, sink: FrameSink, links: LinkHeaders): void;
  /** Called after each look at the ring: for what the filter itself has to tell. Whether there is more at once. */
  turn(sink: FrameSink, links: LinkHeaders): boolean;
  /** Called once, after the last frame: tells all that is left. */
  finish(sink: FrameSink, links: LinkHeaders): void;
  /** Packets that the filter counted and kept, and those that found no room with it. */
  counters(): { readonly kept: number; readonly overflowed: number };
  close(): void;
}

/** Lengths of the interfaces' link headers by their index, as far as frames came from there. */
export type LinkHeaders = ReadonlyMap<number, number>;

/**
 * Opens a ring behind a filter, which `createFilter` attaches to the socket before the first packet comes. Fails as
 * `openPacketRing` does.
 */
export function openRing(
  libc: Libc,
  options: Omit<PacketRingOptions, 'ports'>,
  createFilter: (socket: number, device: string) => RingFilter,
): PacketSource {
  const device = options.interface ?? ALL_INTERFACES;
  const socket = libc.socket(linux.AF_PACKET, linux.SOCK_DGRAM | linux.SOCK_CLOEXEC, 0, device);
  let mapping: Mapping | undefined;
  let filter: RingFilter | undefined;
  try {
    mapping = mapRing(libc, socket, options.blockCount ?? BLOCK_COUNT, device);
    // A socket of protocol 0 receives nothing until it is bound, so no packet slips in before the filter.
    filter = createFilter(socket, device);
    bindTo(libc, socket, options.interface, device);
    return new PacketRing(libc, socket, mapping, filter, options);
  } catch (error) {
    filter?.close();
    mapping?.unmap();
    libc.close(socket);
    throw error;
  }
}

/** The classic filter: what belongs to a watched port goes up. */
class PortFilter implements RingFilter {
  readonly name = 'ring';
  readonly countedSnaplenBytes = 0;
  readonly #libc: Libc;
  readonly #socket: number;
  readonly #device: string;

  constructor(libc: Libc, socket: number, ports: PortSet, device: string) {
    this.#libc = libc;
    this.#socket = socket;
    this.#device = device;
    this.setPorts(ports);
  }

  /** The kernel swaps the program at once: no packet is lost, and none passes unfiltered. */
  setPorts(ports: PortSet): void {
    const program = buildPortFilter(ports, SNAPLEN_BYTES);
    const bytes = encodeProgram(program);
    this.#libc.attachFilter(this.#socket, linux.SO_ATTACH_FILTER, bytes, program.length, this.#device);
  }

  wantPackets(): void {}

  wantFirstPackets(): void {}

  beforeBlock(): void {}

  beforeFrame(): void {}

  turn(): boolean {
    return false;
  }

  finish(): void {}

  counters(): { kept: number; overflowed: number } {
    return { kept: 0, overflowed: 0 };
  }

  close(): void {}
}

class PacketRing implements PacketSource {
  readonly #libc: Libc;
  readonly #socket: number;
  readonly #filter: RingFilter;
  readonly #wakeUp: number;
  readonly #mapping: Mapping;
  readonly #interface: string | undefined;
  readonly #device: string;
  readonly #logger: Logger;
  readonly #interfaces: Interfaces;
  readonly #blockCount: number;
  readonly #statistics = new Uint8Array(linux.TPACKET_STATS_V3.size);
  readonly #statisticsView = new DataView(this.#statistics.buffer);
  #received = 0;
  #dropped = 0;
  #boundIndex: number;
  #isDown = false;
  #state: 'open' | 'running' | 'stopping' | 'closed' = 'open';

  constructor(
    libc: Libc,
    socket: number,
    mapping: Mapping,
    filter: RingFilter,
    options: Omit<PacketRingOptions, 'ports'>,
  ) {
    this.#libc = libc;
    this.#socket = socket;
    this.#filter = filter;
    this.#mapping = mapping;
    this.#interface = options.interface;
    this.#device = options.interface ?? ALL_INTERFACES;
    this.#logger = options.logger.child({ component: 'capture' });
    this.#interfaces = new Interfaces(options.clock);
    this.#blockCount = options.blockCount ?? BLOCK_COUNT;
    this.#boundIndex = this.#interface === undefined ? 0 : libc.interfaceIndex(this.#interface);
    this.#wakeUp = libc.eventFd(linux.EFD_CLOEXEC | linux.EFD_NONBLOCK);
  }

  get name(): string {
    return this.#filter.name;
  }

  async run(sink: FrameSink): Promise<void> {
    if (this.#state === 'closed') return;
    if (this.#state !== 'open') throw new Error('a packet ring runs once');
    this.#state = 'running';
    try {
      const reader = new RingReader(this.#mapping.bytes, this.#blockCount, this.#filter);
      try {
        await this.#deliver(reader, sink);
      } finally {
        await this.#deliverRest(reader, sink);
      }
    } finally {
      this.#close();
    }
  }

  stop(): void {
    if (this.#state === 'running') {
      this.#state = 'stopping';
      this.#libc.signalEventFd(this.#wakeUp);
    } else if (this.#state === 'open') {
      this.#close();
    }
  }

  get isDown(): boolean {
    return this.#isDown;
  }

  /** Reading the kernel's counters clears them, so they are added up here. */
  counters(): CaptureCounters {
    if (this.#state !== 'closed') this.#readStatistics();
    const { kept, overflowed } = this.#filter.counters();
    return { received: this.#received + kept, dropped: this.#dropped, overflowed };
  }

  setPorts(ports: PortSet): void {
    if (this.#state !== 'closed') this.#filter.setPorts(ports);
  }

  wantPackets(flow: FlowEndpoints, packets: number): void {
    this.#filter.wantPackets(flow, packets);
  }

  wantFirstPackets(packets: number): void {
    this.#filter.wantFirstPackets(packets);
  }

  interfaceName(index: number): string | undefined {
    return index === 0 ? undefined : this.#interfaces.nameOf(index);
  }

  async #deliver(reader: RingReader, sink: FrameSink): Promise<void> {
    const entries = [
      { fd: this.#socket, events: linux.POLLIN },
      { fd: this.#wakeUp, events: linux.POLLIN },
    ];
    let hasMore = false;
    while (this.#state === 'running') {
      const timeoutMs = hasMore ? 0 : POLL_TIMEOUT_MS;
      const [events = 0] = await this.#libc.poll(entries, timeoutMs, this.#device);
      if ((events & linux.POLLERR) !== 0) this.#noteSocketError();
      if (this.#isDown) this.#rebind();
      // The ring is read whatever poll said: the answer may be older than the newest block.
      const blocks = reader.readBlocks(sink, MAX_BLOCKS_A_TURN);
      hasMore = this.#filter.turn(sink, reader.linkHeaders) || blocks === MAX_BLOCKS_A_TURN;
    }
  }

  /**
   * What came before the end, be it a stop or a fault: nothing comes after it, and the kernel hands the block that it
   * was filling over within three of its timeouts: two of its ticks and a little.
   */
  async #deliverRest(reader: RingReader, sink: FrameSink): Promise<void> {
    this.#filter.setPorts(new PortSet());
    for (let waits = 0; waits < 3; waits++) {
      await this.#libc.poll([{ fd: this.#wakeUp, events: 0 }], BLOCK_TIMEOUT_MS, this.#device);
      reader.readBlocks(sink, this.#blockCount);
    }
    this.#filter.finish(sink, reader.linkHeaders);
  }

  /** An interface that goes down leaves an error on the socket; the ring stays, and the kernel resumes by itself. */
  #noteSocketError(): void {
    const name = this.#libc.takeSocketError(this.#socket, this.#device);
    if (name === undefined) return;
    if (name !== 'ENETDOWN') {
      throw new PlasmawatchError('PW_CAPTURE_FAILED', `capture on ${this.#device} failed: ${name}`, {
        operation: 'poll',
        subject: this.#device,
        retryable: true,
      });
    }
    if (!this.#isDown) this.#logger.warn({ device: this.#device }, `${this.#device} went down`);
    this.#isDown = true;
  }

  /** An interface that was removed and made anew has another index, which the kernel does not follow. */
  #rebind(): void {
    if (this.#interface === undefined || !this.#interfaces.isUp(this.#interface)) return;
    const index = this.#libc.interfaceIndex(this.#interface);
    if (index !== this.#boundIndex) bindTo(this.#libc, this.#socket, this.#interface, this.#device);
    this.#boundIndex = index;
    this.#isDown = false;
    this.#logger.info({ device: this.#device }, `listening on ${this.#device} again`);
  }

  #readStatistics(): void {
    const { packets, drops } = linux.TPACKET_STATS_V3;
    this.#libc.getSocketOption(
      this.#socket,
      linux.SOL_PACKET,
      linux.PACKET_STATISTICS,
      this.#statistics,
      'read PACKET_STATISTICS',
      this.#device,
    );
    this.#received += this.#statisticsView.getUint32(packets, linux.HOST_IS_LITTLE_ENDIAN);
    this.#dropped += this.#statisticsView.getUint32(drops, linux.HOST_IS_LITTLE_ENDIAN);
  }

  #close(): void {
    if (this.#state === 'closed') return;
    this.#readStatistics();
    this.#state = 'closed';
    this.#filter.close();
    this.#mapping.unmap();
    this.#libc.close(this.#socket);
    this.#libc.close(this.#wakeUp);
  }
}

const HARDWARE_ADDRESS_LENGTH = 6;
/** The low bits of a tag: IEEE 802.1Q. */
const VLAN_NUMBER_MASK = 0xfff;

/** Walks the blocks of the ring in the kernel's order. */
class RingReader {
  readonly #view: DataView;
  /** For the status words, whose order with the packets matters on arm64. */
  readonly #words: Int32Array;
  readonly #blockCount: number;
  readonly #filter: RingFilter;
  readonly #countedSnaplenBytes: number;
  readonly #frame = new Frame();
  readonly #linkHeaders = new Map<number, number>();
  /** The last interface in `#linkHeaders`, so that most frames need no look. */
  #knownInterface = -1;
  #nextBlock = 0;

  constructor(ring: ArrayBuffer, blockCount: number, filter: RingFilter) {
    this.#view = new DataView(ring);
    this.#words = new Int32Array(ring);
    this.#blockCount = blockCount;
    this.#filter = filter;
    this.#countedSnaplenBytes = filter.countedSnaplenBytes;
    this.#frame.view = this.#view;
    this.#frame.linkType = LINKTYPE_RAW;
  }

  get linkHeaders(): LinkHeaders {
    return this.#linkHeaders;
  }

  /** Delivers the blocks that the kernel has handed over, at most `limit` of them. Returns how many. */
  readBlocks(sink: FrameSink, limit: number): number {
    for (let count = 0; count < limit; count++) {
      const block = this.#nextBlock * BLOCK_SIZE_BYTES;
      const statusWord = (block + linux.TPACKET_BLOCK_DESC.blockStatus) >>> 2;
      if ((Atomics.load(this.#words, statusWord) & linux.TP_STATUS_USER) === 0) return count;
      this.#filter.beforeBlock();
      this.#readPackets(block, sink);
      Atomics.store(this.#words, statusWord, linux.TP_STATUS_KERNEL);
      this.#nextBlock = (this.#nextBlock + 1) % this.#blockCount;
      sink.blockEnd();
    }
    return limit;
  }

  #readPackets(block: number, sink: FrameSink): void {
    const view = this.#view;
    const { packetCount, offsetToFirstPacket } = linux.TPACKET_BLOCK_DESC;
    let remaining = view.getUint32(block + packetCount, linux.HOST_IS_LITTLE_ENDIAN);
    let packet = block + view.getUint32(block + offsetToFirstPacket, linux.HOST_IS_LITTLE_ENDIAN);
    while (remaining > 0) {
      this.#fillFrame(packet);
      this.#filter.beforeFrame(this.#frame, sink, this.#linkHeaders);
      sink.frame(this.#frame);
      packet += view.getUint32(packet + linux.TPACKET3_HDR.nextOffset, linux.HOST_IS_LITTLE_ENDIAN);
      remaining--;
    }
  }

  #fillFrame(packet: number): void {
    const view = this.#view;
    const frame = this.#frame;
    const header = linux.TPACKET3_HDR;
    const address = packet + ADDRESS_OFFSET;
    const network = packet + view.getUint16(packet + header.networkOffset, linux.HOST_IS_LITTLE_ENDIAN);
    const captured = view.getUint32(packet + header.capturedLength, linux.HOST_IS_LITTLE_ENDIAN);
    const length = view.getUint32(packet + header.length, linux.HOST_IS_LITTLE_ENDIAN);
    const status = view.getUint32(packet + header.status, linux.HOST_IS_LITTLE_ENDIAN);
    const hardwareType = view.getUint16(address + linux.SOCKADDR_LL.hatype, linux.HOST_IS_LITTLE_ENDIAN);
    const innerTags = vlanTagsLength(view, network, captured, length);
    const outerTag = (status & linux.TP_STATUS_VLAN_VALID) === 0 ? 0 : VLAN_TAG_LENGTH;

    const linkLength = linkHeaderLength(hardwareType);
    frame.offset = network + innerTags;
    frame.capturedLength = captured - innerTags;
    frame.originalLength = linkLength + outerTag + length;
    frame.isCounted = captured === this.#countedSnaplenBytes && length > captured;
    frame.seconds = view.getUint32(packet + header.seconds, linux.HOST_IS_LITTLE_ENDIAN);
    frame.nanoseconds = view.getUint32(packet + header.nanoseconds, linux.HOST_IS_LITTLE_ENDIAN);
    frame.interfaceIndex = view.getInt32(address + linux.SOCKADDR_LL.ifindex, linux.HOST_IS_LITTLE_ENDIAN);
    frame.linkAddressOffset = hasHardwareAddress(view, address, hardwareType)
      ? address + linux.SOCKADDR_LL.address
      : 0;
    frame.strippedVlan =
      outerTag === 0
        ? 0
        : (view.getUint32(packet + header.vlanTci, linux.HOST_IS_LITTLE_ENDIAN) & VLAN_NUMBER_MASK) + 1;
    if (frame.interfaceIndex !== this.#knownInterface) {
      this.#knownInterface = frame.interfaceIndex;
      this.#linkHeaders.set(frame.interfaceIndex, linkLength);
    }
  }
}

/** Whether the kernel tells six bytes of the sender's address: `sll_halen` of packet(7). */
function hasHardwareAddress(view: DataView, address: number, hardwareType: number): boolean {
  return (
    hardwareType === linux.ARPHRD_ETHER &&
    view.getUint8(address + linux.SOCKADDR_LL.addressLength) === HARDWARE_ADDRESS_LENGTH
  );
}

function mapRing(libc: Libc, socket: number, blockCount: number, device: string): Mapping {
  const version = new Uint8Array(4);
  new DataView(version.buffer).setInt32(0, linux.TPACKET_V3, linux.HOST_IS_LITTLE_ENDIAN);
  libc.setSocketOption(socket, linux.SOL_PACKET, linux.PACKET_VERSION, version, 'set TPACKET_V3', device);

  const request = new Uint8Array(linux.TPACKET_REQ3.size);
  const view = new DataView(request.buffer);
  const set = (offset: number, value: number): void =>
    view.setUint32(offset, value, linux.HOST_IS_LITTLE_ENDIAN);
  set(linux.TPACKET_REQ3.blockSize, BLOCK_SIZE_BYTES);
  set(linux.TPACKET_REQ3.blockCount, blockCount);
  set(linux.TPACKET_REQ3.frameSize, FRAME_SIZE_BYTES);
  set(linux.TPACKET_REQ3.frameCount, (BLOCK_SIZE_BYTES / FRAME_SIZE_BYTES) * blockCount);
  set(linux.TPACKET_REQ3.retireBlockTimeoutMs, BLOCK_TIMEOUT_MS);
  libc.setSocketOption(socket, linux.SOL_PACKET, linux.PACKET_RX_RING, request, 'set up the ring', device);
  return libc.map(
    socket,
    BLOCK_SIZE_BYTES * blockCount,
    linux.PROT_READ | linux.PROT_WRITE,
    linux.MAP_SHARED,
    device,
  );
}

/** Binds to an interface, or to all: from here on packets arrive. */
function bindTo(libc: Libc, socket: number, name: string | undefined, device: string): void {
  const index = name === undefined ? 0 : libc.interfaceIndex(name);
  if (name !== undefined && index === 0) {
    throw new PlasmawatchError('PW_SYSTEM_CALL', `there is no network interface ${name}`, {
      operation: 'bind',
      subject: name,
      cause: { code: 'ENODEV' },
    });
  }
  const address = new Uint8Array(linux.SOCKADDR_LL.size);
  const view = new DataView(address.buffer);
  view.setUint16(linux.SOCKADDR_LL.family, linux.AF_PACKET, linux.HOST_IS_LITTLE_ENDIAN);
  // packet(7): the protocol is in network byte order.
  view.setUint16(linux.SOCKADDR_LL.protocol, linux.ETH_P_ALL);
  view.setInt32(linux.SOCKADDR_LL.ifindex, index, linux.HOST_IS_LITTLE_ENDIAN);
  libc.bind(socket, address, device);
}
