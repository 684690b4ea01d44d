/**
 * Live capture through libpcap, by the npm package `cap`: for where the kernel's ring is not to be had.
 *
 * What it cannot do, and the ring can: it tells no times (packets get the time of their delivery), counts no losses
 * (`dropped` is null), and copies every packet. It runs in a process of its own (libpcap-child.ts), which an interface
 * that goes down ends: then `run` fails as with any fault, and the source can be opened again.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import type { Clock } from '../../common/clock.ts';
import { PlasmawatchError } from '../../common/errors.ts';
import { packagePath } from '../../common/package.ts';
import { DATA_FD, type OpenAnswer, type OpenRequest, RECORD, type Request } from './libpcap-protocol.ts';
import { ARPHRD_ETHER } from './linux/constants.ts';
import { Interfaces } from './linux/interfaces.ts';
import { linkHeaderLength, LINKTYPE_RAW, vlanTagsLength } from './linux/link-header.ts';
import { type CaptureCounters, Frame, type FrameSink, type PacketSource, type PortSet } from './source.ts';

/** libpcap's device that stands for all interfaces of a Linux machine. */
const ANY_DEVICE = 'any';
/** libpcap's optimizer is slow on long filters; with more ranges all TCP passes. */
const MAX_FILTER_RANGES = 64;
/** What is kept of a dying process' last words. */
const MAX_LAST_WORDS = 500;

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

/** Built, also for the tests: the oldest supported Node runs no TypeScript. */
const CHILD_PROGRAM = packagePath('dist/agent/capture/libpcap-child.cjs');

export interface LibpcapOptions {
  /** One interface by name; all interfaces without. */
  readonly interface?: string | undefined;
  readonly ports: PortSet;
  readonly clock: Clock;
}

/**
 * Opens a device. Fails with PW_CAPTURE_UNAVAILABLE where the package or libpcap is missing, and with PW_CAPTURE_FAILED
 * and libpcap's own words where the device cannot be opened.
 */
export async function openLibpcap(options: LibpcapOptions): Promise<PacketSource> {
  const stdio = ['ignore', 'ignore', 'pipe', 'ipc', 'pipe'] as const;
  const forked = fork(CHILD_PROGRAM, [], { execArgv: [], stdio: [...stdio] });
  const child = new LibpcapProcess(forked, options.interface ?? ANY_DEVICE);
  try {
    const linkType = await child.open(filterFor(options, options.ports));
    return new LibpcapSource(child, linkTypeOf(linkType), options);
  } catch (error) {
    child.stop();
    throw error;
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
/**
 * Later IPv4 fragments of TCP, and of UDP, which may be of a tunnel; tunnels: IP in IP, GRE, L2TP, VXLAN, Geneve, TZSP; the
 * extension headers behind which TCP may follow.
 */
const HIDDEN_PORTS = [
  '((ip proto 6 or ip proto 17) and ip[6:2] & 0x1fff != 0)',
  ...[4, 41, 47, 115].map((protocol) => `proto ${protocol}`),
  ...[4789, 8472, 6081, 1701, 37_008].map((port) => `udp port ${port}`),
  ...[0, 43, 44, 51, 60, 135, 139, 140].map((header) => `ip6[6] = ${header}`),
];

function filterFor(options: LibpcapOptions, ports: PortSet): string {
  const hardwareType = new Interfaces(options.clock).hardwareTypeOf(options.interface ?? ANY_DEVICE);
  return formatPcapFilter(ports, hardwareType === ARPHRD_ETHER);
}

/** The child and what is said to it. */
class LibpcapProcess {
  readonly device: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  #lastWords = '';
  isStopped = false;

  constructor(child: ChildProcess, device: string) {
    this.device = device;
    this.#child = child;
    this.#ended = once(child, 'close');
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#lastWords = `${this.#lastWords}${chunk.toString()}`.slice(-MAX_LAST_WORDS);
    });
  }

  /** Packets as libpcap-protocol.ts has them. */
  get data(): Readable {
    return this.#child.stdio[DATA_FD] as Readable;
  }

  /** Opens the device, or again with another filter. Gives the package's name of the link type. */
  async open(filter: string): Promise<string> {
    const request: OpenRequest = { device: this.device, filter };
    this.#child.send(request);
    const answered = once(this.#child, 'message') as Promise<[OpenAnswer]>;
    const [answer] = await Promise.race([answered, this.#ended.then(() => Promise.reject(this.fault()))]);
    if ('linkType' in answer) return answer.linkType;
    throw answer.isPackageMissing
      ? new PlasmawatchError('PW_CAPTURE_UNAVAILABLE', `the package cap cannot be loaded: ${answer.error}`, {
          operation: 'import',
          subject: 'cap',
        })
      : this.#failure(answer.error);
  }

  /** Resolves when the child has ended and everything it sent was delivered. */
  async ended(): Promise<void> {
    await this.#ended;
  }

  stop(): void {
    if (this.isStopped) return;
    this.isStopped = true;
    // Not by closing the channel: of a child whose channel was closed from here, Node emits no `close`.
    if (this.#child.connected) this.#child.send('stop' satisfies Request);
    // A pipe that nobody reads would keep it from ending.
    if (this.data.listenerCount('data') === 0) this.data.resume();
  }

  /** Ends the child as a fault. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** Why the child has ended by itself. */
  fault(): PlasmawatchError {
    const words = this.#lastWords.trim().replaceAll(/\s*\n\s*/g, ' | ');
    const end = this.#child.signalCode ?? `exit status ${this.#child.exitCode}`;
    return this.#failure(`the process has ended (${end})${words === '' ? '' : `: ${words}`}`);
  }

  #failure(reason: string): PlasmawatchError {
    return new PlasmawatchError('PW_CAPTURE_FAILED', `libpcap on ${this.device}: ${reason}`, {
      operation: 'open',
      subject: this.device,
      retryable: true,
    });
  }
}

class LibpcapSource implements PacketSource {
  readonly name = 'cap';
  readonly #child: LibpcapProcess;
  readonly #options: LibpcapOptions;
  readonly #isCooked: boolean;
  readonly #frame = new Frame();
  /** The start of a record whose rest is still under way. */
  #rest: Buffer = Buffer.alloc(0);
  #received = 0;

  constructor(child: LibpcapProcess, linkType: number, options: LibpcapOptions) {
    this.#child = child;
    this.#options = options;
    this.#isCooked = linkType === LINKTYPE_LINUX_SLL;
    this.#frame.linkType = this.#isCooked ? LINKTYPE_RAW : linkType;
  }

  async run(sink: FrameSink): Promise<void> {
    if (this.#child.isStopped) return;
    this.#child.data.on('data', (chunk: Buffer) => {
      this.#deliver(chunk, sink);
      sink.blockEnd();
    });
    await this.#child.ended();
    if (!this.#child.isStopped) throw this.#child.fault();
  }

  stop(): void {
    this.#child.stop();
  }

  counters(): CaptureCounters {
    return { received: this.#received, dropped: null, overflowed: 0 };
  }

  setPorts(ports: PortSet): void {
    if (this.#child.isStopped) return;
    // A child that cannot go on says so by its end, which `run` tells.
    this.#child.open(filterFor(this.#options, ports)).catch(() => this.#child.kill());
  }

  wantPackets(): void {}

  wantFirstPackets(): void {}

  /** Packets carry no index here: the name is known when only one interface was asked for. */
  interfaceName(): string | undefined {
    return this.#options.interface;
  }

  #deliver(chunk: Buffer, sink: FrameSink): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const frame = this.#frame;
    let record = 0;
    while (record + RECORD.length <= bytes.length) {
      const captured = view.getUint32(record + RECORD.captured, true);
      const end = record + RECORD.length + captured;
      if (end > bytes.length) break;
      frame.view = view;
      frame.offset = record + RECORD.length;
      frame.capturedLength = captured;
      frame.originalLength = view.getUint32(record + RECORD.original, true);
      frame.seconds = view.getUint32(record + RECORD.seconds, true);
      frame.nanoseconds = view.getUint32(record + RECORD.nanoseconds, true);
      if (this.#isCooked) stripCookedHeader(frame);
      this.#received++;
      sink.frame(frame);
      record = end;
    }
    this.#rest = bytes.subarray(record);
  }
}

/** Takes the cooked header away and gives the packet the lengths that it had on its own link. */
function stripCookedHeader(frame: Frame): void {
  const networkLength = frame.originalLength - SLL.length;
  if (networkLength < 0) return;
  const hardwareType = frame.view.getUint16(frame.offset + SLL.hardwareType);
  const network = frame.offset + SLL.length;
  const tagsLength = vlanTagsLength(frame.view, network, frame.capturedLength - SLL.length, networkLength);
  frame.offset = network + tagsLength;
  frame.capturedLength -= SLL.length + tagsLength;
  frame.originalLength = linkHeaderLength(hardwareType) + networkLength;
}

function linkTypeOf(name: string): number {
  return LINK_TYPES[name] ?? Number(UNKNOWN_LINK_TYPE.exec(name)?.[1] ?? Number.NaN);
}
