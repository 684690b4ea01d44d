// oxlint-disable-next-line typescript/triple-slash-reference -- an ambient module cannot be imported
/// <reference path="./cap.d.ts" />
/**
 * Live capture through libpcap, by the npm package `cap`: for where the kernel's ring is not to be had.
 *
 * What it cannot do, and the ring can: it tells no times (packets get the time of their delivery), counts no losses
 * (`dropped` is null), and copies every packet whole. An interface that is given by name and goes down ends the process
 * inside the package (an assertion in its native part); capturing on all interfaces does not have that fault.
 */
import type * as CapPackage from 'cap';
import type { Clock, Timer } from '../../common/clock.ts';
import { messageOf, PlasmawatchError } from '../../common/errors.ts';
import { ARPHRD_ETHER } from './linux/constants.ts';
import { Interfaces } from './linux/interfaces.ts';
import { linkHeaderLength, LINKTYPE_RAW, vlanTagsLength } from './linux/link-header.ts';
import { type CaptureCounters, Frame, type FrameSink, type PacketSource, type PortSet } from './source.ts';

/** libpcap's device that stands for all interfaces of a Linux machine. */
const ANY_DEVICE = 'any';
/** Kernel memory for packets that wait for us. */
const KERNEL_BUFFER_BYTES = 32 * 1024 * 1024;
/** Longer than the package's snaplen of 65,535 bytes, so that no packet is cut for want of room. */
const PACKET_BUFFER_BYTES = 128 * 1024;
/** A block of frames, as the sink sees it. */
const BLOCK_MS = 40;
const MAX_BLOCK_FRAMES = 1024;
/** libpcap's optimizer is slow on long filters; with more ranges all TCP passes. */
const MAX_FILTER_RANGES = 64;

/** Names of the package, and LINKTYPE_ values of the pcap registry. */
const LINK_TYPES: Readonly<Record<string, number>> = {
  NULL: 0,
  ETHERNET: 1,
  RAW: LINKTYPE_RAW,
  LINKTYPE_LINUX_SLL: 113,
  IEEE802_11_RADIO: 127,
};
const UNKNOWN_LINK_TYPE = /^Unknown linktype (\d+)$/;
const LINKTYPE_LINUX_SLL = 113;
/** LINKTYPE_LINUX_SLL of the pcap registry: a header in network byte order in front of the network header. */
const SLL = { length: 16, hardwareType: 2 } as const;

export interface LibpcapOptions {
  /** One interface by name; all interfaces without. */
  readonly interface?: string | undefined;
  readonly ports: PortSet;
  /** Gives packets their time. */
  readonly clock: Clock;
}

/**
 * Opens a device. Fails with PW_CAPTURE_UNAVAILABLE where the package or libpcap is missing, and with PW_CAPTURE_FAILED
 * and libpcap's own words where the device cannot be opened.
 */
export async function openLibpcap(options: LibpcapOptions): Promise<PacketSource> {
  const { Cap } = await importCap();
  return new LibpcapSource(() => new Cap(), options);
}

async function importCap(): Promise<typeof CapPackage> {
  try {
    // CommonJS: what the package exports is its default, and its names are not seen from here.
    const { default: cap } = (await import('cap')) as unknown as { default: typeof CapPackage };
    return cap;
  } catch (error) {
    throw new PlasmawatchError(
      'PW_CAPTURE_UNAVAILABLE',
      `the package cap cannot be loaded: ${messageOf(error)}`,
      {
        operation: 'import',
        subject: 'cap',
        cause: error,
      },
    );
  }
}

/**
 * The filter in libpcap's language (pcap-filter(7)). Like the ring's it lets pass what may belong to a watched
 * connection but hides its ports: later fragments, and IPv6 with extension headers.
 *
 * @param hasVlanTags whether the device's link type can carry VLAN tags; the word is an error where it cannot
 */
export function formatPcapFilter(ports: PortSet, hasVlanTags: boolean): string {
  const ranges = ports.ranges();
  if (ranges.length === 0) return NOTHING;
  const portTerms =
    ranges.length > MAX_FILTER_RANGES
      ? ['tcp']
      : ranges.map(({ first, last }) =>
          first === last ? `tcp port ${first}` : `tcp portrange ${first}-${last}`,
        );
  const filter = [...portTerms, ...HIDDEN_PORTS].join(' or ');
  // `vlan` shifts the offsets of everything behind it, so it comes last; the second one is for a tag in a tag.
  return hasVlanTags ? `${filter} or (vlan and (${filter} or (vlan and (${filter}))))` : filter;
}

/** No packet is longer and shorter at once: an empty set of ports lets nothing pass. */
const NOTHING = 'less 1 and greater 2';
/** Protocol 6 in later IPv4 fragments; the extension headers behind which TCP may follow. */
const HIDDEN_PORTS = [
  '(ip proto 6 and ip[6:2] & 0x1fff != 0)',
  ...[0, 43, 44, 51, 60, 135, 139, 140].map((header) => `ip6[6] = ${header}`),
];

/**
 * Every handle that was made, for ever: the package leaves its handle in the event loop's list when it is closed, and
 * closes one that it never opened when it is collected; both end in freed memory. A few hundred bytes each.
 */
const handles = new Set<CapPackage.Cap>();

class LibpcapSource implements PacketSource {
  readonly name = 'cap';
  readonly #createCap: () => CapPackage.Cap;
  readonly #interface: string | undefined;
  readonly #device: string;
  readonly #clock: Clock;
  readonly #frame = new Frame();
  readonly #buffer = Buffer.alloc(PACKET_BUFFER_BYTES);
  #cap: CapPackage.Cap;
  #ports: PortSet;
  #sink: FrameSink | undefined;
  #received = 0;
  #framesInBlock = 0;
  #blockTimer: Timer | undefined;
  #isStopped = false;
  #end: () => void = () => {};

  constructor(createCap: () => CapPackage.Cap, options: LibpcapOptions) {
    this.#createCap = createCap;
    this.#interface = options.interface;
    this.#device = options.interface ?? ANY_DEVICE;
    this.#clock = options.clock;
    this.#ports = options.ports;
    this.#frame.view = new DataView(this.#buffer.buffer, this.#buffer.byteOffset, this.#buffer.byteLength);
    this.#cap = this.#open();
  }

  run(sink: FrameSink): Promise<void> {
    if (this.#isStopped) return Promise.resolve();
    this.#sink = sink;
    return new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#cap.close();
    this.#endBlock();
    this.#end();
  }

  counters(): CaptureCounters {
    return { received: this.#received, dropped: null, overflowed: 0 };
  }

  /** The package cannot swap a filter: another handle is opened first, then this one closed with what it held. */
  setPorts(ports: PortSet): void {
    if (this.#isStopped) return;
    this.#ports = ports;
    const previous = this.#cap;
    this.#cap = this.#open();
    previous.removeAllListeners().close();
  }

  wantPackets(): void {}

  wantFirstPackets(): void {}

  /** Packets carry no index here: the name is known when only one interface was asked for. */
  interfaceName(): string | undefined {
    return this.#interface;
  }

  #open(): CapPackage.Cap {
    const cap = this.#createCap();
    handles.add(cap);
    const hasVlanTags = new Interfaces(this.#clock).hardwareTypeOf(this.#device) === ARPHRD_ETHER;
    const filter = formatPcapFilter(this.#ports, hasVlanTags);
    try {
      const linkType = linkTypeOf(cap.open(this.#device, filter, KERNEL_BUFFER_BYTES, this.#buffer));
      const isCooked = linkType === LINKTYPE_LINUX_SLL;
      this.#frame.linkType = isCooked ? LINKTYPE_RAW : linkType;
      cap.on('packet', (length, isTruncated) => this.#deliver(length, isTruncated, isCooked));
    } catch (error) {
      throw new PlasmawatchError('PW_CAPTURE_FAILED', `libpcap on ${this.#device}: ${messageOf(error)}`, {
        operation: 'open',
        subject: this.#device,
        cause: error,
      });
    }
    return cap;
  }

  #deliver(length: number, isTruncated: boolean, isCooked: boolean): void {
    if (this.#sink === undefined) return;
    const frame = this.#frame;
    frame.offset = 0;
    frame.capturedLength = length;
    // How long a cut packet was is not told: one byte more at the least.
    frame.originalLength = isTruncated ? length + 1 : length;
    if (isCooked) stripCookedHeader(frame);
    const now = this.#clock.now();
    frame.seconds = Math.floor(now / 1000);
    frame.nanoseconds = Math.floor((now % 1000) * 1_000_000);
    this.#received++;
    this.#sink.frame(frame);
    this.#countInBlock();
  }

  /** Packets come one by one; a block is what came within `BLOCK_MS`, or so many at once. */
  #countInBlock(): void {
    this.#framesInBlock++;
    if (this.#framesInBlock >= MAX_BLOCK_FRAMES) this.#endBlock();
    else this.#blockTimer ??= this.#clock.after(BLOCK_MS, () => this.#endBlock());
  }

  #endBlock(): void {
    this.#blockTimer?.cancel();
    this.#blockTimer = undefined;
    if (this.#framesInBlock === 0) return;
    this.#framesInBlock = 0;
    this.#sink?.blockEnd();
  }
}

/** Takes the cooked header away and gives the packet the lengths that it had on its own link. */
function stripCookedHeader(frame: Frame): void {
  const networkLength = frame.originalLength - SLL.length;
  if (networkLength < 0) return;
  const hardwareType = frame.view.getUint16(frame.offset + SLL.hardwareType);
  const tagsLength = vlanTagsLength(frame.view, SLL.length, frame.capturedLength - SLL.length, networkLength);
  frame.offset = SLL.length + tagsLength;
  frame.capturedLength -= SLL.length + tagsLength;
  frame.originalLength = linkHeaderLength(hardwareType) + networkLength;
}

function linkTypeOf(name: string): number {
  return LINK_TYPES[name] ?? Number(UNKNOWN_LINK_TYPE.exec(name)?.[1] ?? Number.NaN);
}
