/**
 * When a flow ends: three queues, one for each time limit, each in the order of the last packet, to the second. So the
 * flows to end, or to evict when the table is full, are always at the front, and a flow costs one move to the back in a
 * second (a move for each packet is 15 ns more).
 */
import { NEWER, NO_SLOT, OLDER, RECORD_BYTES, type FlowStore } from './flow-store.ts';

/** How long a flow stays after its last packet, in seconds. */
export interface FlowTimeouts {
  /** A SYN without an answer. */
  readonly attemptSeconds: number;
  /** An open connection, one joined midstream or half closed. Ray's are silent when idle: hours, not minutes. */
  readonly establishedSeconds: number;
  /** A connection that is over, so that its last stray packets are not taken for a new one. */
  readonly closedSeconds: number;
}

export const DEFAULT_TIMEOUTS: FlowTimeouts = {
  // Linux gives up a connect after 127 s (tcp_syn_retries 6), and its longest silence before is 64 s.
  attemptSeconds: 130,
  establishedSeconds: 2 * 60 * 60,
  // Twice the maximum segment lifetime as Linux has it (TCP_TIMEWAIT_LEN, include/net/tcp.h).
  closedSeconds: 60,
};

/** Slots of flows in the order of the second of their last packet: a list through the flows' own links. */
export class FlowQueue {
  readonly #store: FlowStore;
  #oldest = NO_SLOT;
  #newest = NO_SLOT;

  constructor(store: FlowStore) {
    this.#store = store;
  }

  /** The slot at the front, or `NO_SLOT`. */
  get oldest(): number {
    return this.#oldest;
  }

  /** The slot behind this one of the queue, or `NO_SLOT`. */
  newerThan(slot: number): number {
    return this.#store.view.getInt32(slot * RECORD_BYTES + NEWER, true);
  }

  /** Adds a flow that is in no queue. */
  add(slot: number): void {
    const { view } = this.#store;
    const previous = this.#newest;
    view.setInt32(slot * RECORD_BYTES + OLDER, previous, true);
    view.setInt32(slot * RECORD_BYTES + NEWER, NO_SLOT, true);
    if (previous === NO_SLOT) this.#oldest = slot;
    else view.setInt32(previous * RECORD_BYTES + NEWER, slot, true);
    this.#newest = slot;
  }

  /** Removes a flow that is in this queue. */
  remove(slot: number): void {
    const { view } = this.#store;
    const older = view.getInt32(slot * RECORD_BYTES + OLDER, true);
    const newer = view.getInt32(slot * RECORD_BYTES + NEWER, true);
    if (older === NO_SLOT) this.#oldest = newer;
    else view.setInt32(older * RECORD_BYTES + NEWER, newer, true);
    if (newer === NO_SLOT) this.#newest = older;
    else view.setInt32(newer * RECORD_BYTES + OLDER, older, true);
  }

  /** Makes a flow of this queue its newest. */
  renew(slot: number): void {
    if (this.#newest === slot) return;
    this.remove(slot);
    this.add(slot);
  }
}
