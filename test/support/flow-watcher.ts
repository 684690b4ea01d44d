/** What a live source shows of its flows, in a form that tests can compare. */
import type { FlowCounts, Frame, FrameSink, PacketSource } from '../../agent/capture/source.ts';
import { decode, Packet } from '../../agent/decode/packet.ts';
import type { Flow } from '../../agent/flow/flow.ts';
import { FlowTable } from '../../agent/flow/table.ts';
import { formatAddress, IPV4_MAPPED_WORD } from '../../common/address.ts';

/** That of the sources that are watched, so that they tell the same tunnels apart. */
export const TUNNEL_SEED = 0x9abc_def1;

/** Runs a source and joins its frames and counts to flows, as the pipeline does. */
export class FlowWatcher implements FrameSink {
  readonly table = new FlowTable<undefined>({
    maxFlows: 100_000,
    isService: (_w0, _w1, _w2, _w3, port) => this.#isWatched(port),
    countOnOneInterface: true,
    ended: (flow) => this.#earlier.push(describe(flow)),
  });
  readonly #source: PacketSource;
  readonly #isWatched: (port: number) => boolean;
  readonly #running: Promise<void>;
  readonly #packet = new Packet(TUNNEL_SEED);
  readonly #interfaces = new Set<string>();
  readonly #earlier: string[] = [];
  /** Frames of the watched ports. */
  frames = 0;

  /** @param isWatched other ports are no matter of the test: what hides its ports comes up whatever they are */
  constructor(source: PacketSource, isWatched: (port: number) => boolean) {
    this.#source = source;
    this.#isWatched = isWatched;
    this.#running = source.run(this);
  }

  frame(frame: Frame): void {
    if (decode(frame, this.#packet) !== 'tcp') return;
    const { sourcePort, destinationPort } = this.#packet;
    if (!this.#isWatched(sourcePort) && !this.#isWatched(destinationPort)) return;
    this.frames++;
    this.table.observe(frame, this.#packet);
  }

  counts(counts: FlowCounts): void {
    this.#interfaces.add(this.#source.interfaceName(counts.interfaceIndex) ?? '?');
    this.table.account(counts);
  }

  blockEnd(): void {}

  /** Ends the source and says what was seen. */
  async stop(): Promise<Seen> {
    this.#source.stop();
    await this.#running;
    const flows = new Map<string, string>();
    const states = new Map<string, string>();
    const sides: Side[] = [];
    for (const flow of this.table) {
      const { initiator, responder, state } = flow;
      const name = `${formatAddress(initiator)} ${initiator.port} ${formatAddress(responder)} ${responder.port}`;
      flows.set(name, describe(flow));
      states.set(name, state);
      const headers = 14 + (initiator.w2 === IPV4_MAPPED_WORD ? 20 : 40) + 32;
      for (const { packets, bytes, payloadBytes } of [initiator, responder]) {
        sides.push({ packets, bytes, payloadBytes, headers });
      }
    }
    return {
      flows,
      earlier: this.#earlier,
      states,
      sides,
      frames: this.frames,
      interfaces: this.#interfaces,
    };
  }
}

function describe({ initiator, responder }: Flow<undefined>): string {
  const packets = initiator.packets + responder.packets;
  const bytes = initiator.bytes + responder.bytes;
  const payload = initiator.payloadBytes + responder.payloadBytes;
  return `${packets} packets, ${bytes} bytes, ${payload} payload`;
}

/** What one end of a flow has sent. */
interface Side {
  readonly packets: number;
  readonly bytes: number;
  readonly payloadBytes: number;
  /** Of an ordinary packet of the connection. */
  readonly headers: number;
}

/** What a source showed; flows by their endpoints. */
export interface Seen {
  readonly flows: ReadonlyMap<string, string>;
  /** Those that another connection between the same ends took the place of, in order. */
  readonly earlier: readonly string[];
  readonly states: ReadonlyMap<string, string>;
  readonly sides: readonly Side[];
  readonly frames: number;
  /** Those that the kernel counted on. */
  readonly interfaces: ReadonlySet<string>;
}

/** Runs a source while `work` does something to see. */
export async function observeFlows(
  source: PacketSource,
  isWatched: (port: number) => boolean,
  work: (watcher: FlowWatcher) => Promise<void>,
): Promise<Seen> {
  const watcher = new FlowWatcher(source, isWatched);
  try {
    await work(watcher);
  } catch (error) {
    await watcher.stop();
    throw error;
  }
  return watcher.stop();
}
