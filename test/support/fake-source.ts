/** A packet source that delivers what a test sends. */
import {
  PortSet,
  type CaptureCounters,
  type FlowEndpoints,
  type FrameSink,
  type PacketSource,
} from '../../agent/capture/source.ts';

export class FakeSource implements PacketSource {
  readonly name = 'fake';
  ports = new PortSet();
  received = 0;
  dropped: number | null = 0;
  overflowed = 0;
  /** What was asked for, in order. */
  readonly wanted: (FlowEndpoints & { packets: number })[] = [];
  firstPackets = 1;
  #sink: FrameSink | undefined;
  #end: { resolve: () => void; reject: (error: unknown) => void } | undefined;

  run(sink: FrameSink): Promise<void> {
    this.#sink = sink;
    return new Promise((resolve, reject) => {
      this.#end = { resolve, reject };
    });
  }

  /** Lets `send` hand frames to whoever runs the source, as one block. */
  deliver(send: (sink: FrameSink) => void): void {
    if (this.#sink === undefined) throw new Error('the source does not run');
    send(this.#sink);
    this.#sink.blockEnd();
  }

  /** Makes `run` reject. */
  fail(error: Error): void {
    this.#end?.reject(error);
  }

  stop(): void {
    this.#end?.resolve();
  }

  counters(): CaptureCounters {
    return { received: this.received, dropped: this.dropped, overflowed: this.overflowed };
  }

  setPorts(ports: PortSet): void {
    this.ports = ports;
  }

  wantPackets(flow: FlowEndpoints, packets: number): void {
    this.wanted.push({ ...flow, packets });
  }

  wantFirstPackets(packets: number): void {
    this.firstPackets = packets;
  }

  interfaceName(): undefined {
    return undefined;
  }
}
