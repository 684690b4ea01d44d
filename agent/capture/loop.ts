/**
 * Keeps a packet source running: opens it again when it fails, and adds up the counters of the ones before, so that
 * no count is lost with a source.
 */
import type { Clock, Timer } from '../../common/clock.ts';
import { messageOf } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import {
  PortSet,
  type CaptureCounters,
  type FlowEndpoints,
  type FrameSink,
  type PacketSource,
} from './source.ts';

/** A source that failed is opened again after this time. */
const REOPEN_DELAY_MS = 2000;
/** Opening a source takes some milliseconds; one that has not come or failed by then never will. */
const OPENING_LIMIT_MS = 30_000;

const NOTHING: CaptureCounters = { received: 0, dropped: 0, overflowed: 0 };

interface CaptureLoopOptions {
  readonly open: (ports: PortSet) => Promise<PacketSource>;
  readonly sink: FrameSink;
  readonly clock: Clock;
  readonly logger: Logger;
}

export class CaptureLoop {
  readonly #options: CaptureLoopOptions;
  #ports = new PortSet();
  #firstPackets = 1;
  #source: PacketSource | undefined;
  #running: Promise<void> = Promise.resolve();
  #reopenTimer: Timer | undefined;
  /** When the attempt to open a source that is under way began. */
  #openingSinceMs: number | undefined;
  #isStopped = false;
  /** Counters of the sources that are gone. */
  #before = NOTHING;
  /** Times a source was opened again after a fault. */
  restarts = 0;
  /** Whether a source runs, or (a file) has come to its end. */
  #isRunning = false;

  constructor(options: CaptureLoopOptions) {
    this.#options = options;
  }

  /**
   * Opens the first source and lets it run.
   * @throws PlasmawatchError when it cannot be opened: then nothing can be captured here at all
   */
  async start(ports: PortSet): Promise<void> {
    this.#ports = ports;
    this.#run(await this.#options.open(ports));
  }

  /** Name of the source, for heartbeats. */
  get name(): string {
    return this.#source?.name ?? 'none';
  }

  /** Whether packets can be captured at the moment, or the source (a file) has come to its end. */
  get isCapturing(): boolean {
    return this.#isRunning && this.#source?.isDown !== true;
  }

  /** Whether an attempt to open the source again hangs: no other one follows, and packets are never captured again. */
  get isStuck(): boolean {
    return (
      this.#openingSinceMs !== undefined &&
      this.#options.clock.monotonic() - this.#openingSinceMs > OPENING_LIMIT_MS
    );
  }

  /** The ports to which packets are captured; another set where they change. */
  get ports(): PortSet {
    return this.#ports;
  }

  /** Captures these ports from now on. */
  setPorts(ports: PortSet): void {
    if (ports.equals(this.#ports)) return;
    this.#ports = ports;
    this.#source?.setPorts(ports);
  }

  /**
   * See `PacketSource.wantPackets`. A source that is opened anew knows nothing of it, and shows every flow's first
   * packets.
   */
  wantPackets(flow: FlowEndpoints, packets: number): void {
    this.#source?.wantPackets(flow, packets);
  }

  /** See `PacketSource.wantFirstPackets`; holds for sources that are opened later, too. */
  wantFirstPackets(packets: number): void {
    this.#firstPackets = packets;
    this.#source?.wantFirstPackets(packets);
  }

  interfaceName(index: number): string | undefined {
    return this.#source?.interfaceName(index);
  }

  /** Totals of all sources since the start. */
  counters(): CaptureCounters {
    const now = this.#source?.counters() ?? NOTHING;
    return {
      received: this.#before.received + now.received,
      dropped:
        this.#before.dropped === null || now.dropped === null ? null : this.#before.dropped + now.dropped,
      overflowed: this.#before.overflowed + now.overflowed,
    };
  }

  /** Resolves after the last frame was delivered. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#reopenTimer?.cancel();
    this.#source?.stop();
    await this.#running;
  }

  #run(source: PacketSource): void {
    this.#source = source;
    this.#isRunning = true;
    source.wantFirstPackets(this.#firstPackets);
    this.#running = source.run(this.#options.sink).catch((error: unknown) => this.#failed(source, error));
  }

  #failed(source: PacketSource, error: unknown): void {
    this.#before = this.counters();
    this.#source = undefined;
    this.#isRunning = false;
    if (this.#isStopped) return;
    this.#options.logger.error(
      { source: source.name, reason: messageOf(error) },
      'the capture failed, opening it again',
    );
    this.#reopenLater();
  }

  #reopenLater(): void {
    this.#reopenTimer = this.#options.clock.after(REOPEN_DELAY_MS, () => {
      this.#running = this.#reopen();
    });
  }

  async #reopen(): Promise<void> {
    this.#openingSinceMs = this.#options.clock.monotonic();
    try {
      const source = await this.#options.open(this.#ports);
      if (this.#isStopped) return;
      this.restarts++;
      this.#options.logger.info({ source: source.name }, 'capturing again');
      this.#run(source);
    } catch {
      // Logged when it failed; the capture_running counter tells how long it lasts.
      if (!this.#isStopped) this.#reopenLater();
    } finally {
      this.#openingSinceMs = undefined;
    }
  }
}
