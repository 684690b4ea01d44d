/** Peers that nobody has seen before, each from an address of its own, and how long it took until they were reported. */
import type { HostName, Lab } from './lab.ts';
import { inWords, type Watch } from './watch.ts';

/** Free addresses in the subnets of the lab's hosts. */
const FIRST_HOST_NUMBER = 101;

export class UnknownPeers {
  readonly #lab: Lab;
  readonly #watch: Watch;
  readonly #delaysMs: number[] = [];
  readonly #addresses = new Set<string>();

  constructor(lab: Lab, watch: Watch) {
    this.#lab = lab;
    this.#watch = watch;
  }

  /**
   * Lets one appear at a node and waits until it is reported.
   * @param from the host that gets one more address: in the nodes' subnet or outside
   * @returns all that was reported since the last call of `news`, the unknown peer by that name
   */
  async appear(at: HostName, from: 'client' | 'intruder' = 'intruder'): Promise<string[]> {
    const number = FIRST_HOST_NUMBER + this.#delaysMs.length;
    const address = this.#lab.address(from).replace(/\d+$/, String(number));
    this.#addresses.add(address);
    await this.#lab.addAddress(from, address);
    const reported = this.#watch.reported(address);
    // Whichever fails first says why.
    const [beganMs, reportedMs] = await Promise.all([this.#lab.connect(from, address, at), reported]);
    this.#delaysMs.push(reportedMs - beganMs);
    return (await this.#watch.news()).map((anomaly) =>
      anomaly.flow?.source.ip === address
        ? `${anomaly.node}: ${anomaly.kind} of the unknown peer`
        : inWords(anomaly),
    );
  }

  /** Whether an address is that of one of them. */
  has(address: string): boolean {
    return this.#addresses.has(address);
  }

  /** For a person to read: machines differ, and others work on them. */
  summary(): string {
    const delays = this.#delaysMs.toSorted((a, b) => a - b);
    const [median, max] = [delays[Math.floor(delays.length / 2)], delays.at(-1)].map((ms) =>
      ms === undefined ? '?' : `${(ms / 1000).toFixed(2)} s`,
    );
    return `${delays.length} unknown peers on Ray ${this.#lab.version}, from packet to report: p50 ${median}, max ${max}`;
  }
}
