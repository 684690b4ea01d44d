/**
 * When a flow ends: a queue for each time limit, each in the order of the last packet, to eight seconds. So the
 * flows to end, or to evict when the table is full, are at the front, and a flow costs one move to the back in eight
 * seconds: a move touches the records of three other flows, which mostly are in no cache.
 */
import { NEWER, NO_SLOT, OLDER, RECORD_WORDS, type FlowStore } from './flow-store.ts';

/** How long a flow stays after its last packet, in seconds. */
export interface FlowTimeouts {
  /** Time after its last packet in which a SYN may still be answered. */
  readonly attemptSeconds: number;
  /** Time without another SYN after which an attempt is handed over as unanswered. */
  readonly unansweredSeconds: number;
  /** An open connection, one joined midstream or half closed. Ray's are silent when idle: hours, not minutes. */
  readonly establishedSeconds: number;
  /** A connection that is over, so that its last stray packets are not taken for a new one. */
  readonly closedSeconds: number;
}

export const DEFAULT_TIMEOUTS: FlowTimeouts = {
  // Linux gives up a connect after 127 s (tcp_syn_retries 6), and its longest silence before is 64 s.
  attemptSeconds: 130,
  // Above the silences of its first four tries, which come within 15 s.
  unansweredSeconds: 10,
  establishedSeconds: 2 * 60 * 60,
  // Twice the maximum segment lifetime as Linux has it (TCP_TIMEWAIT_LEN, include/net/tcp.h).
  closedSeconds: 60,
};

/** The stretch of time that a second is in: within one, the order of a queue says nothing. */
export function stretchOf(seconds: number): number {
  return Math.floor(seconds / 8);
}

/** Slots of flows in the order of the stretch of their last packet: a list through the flows' own links. */
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
    return this.#store.words[slot * RECORD_WORDS + NEWER] as number;
  }

  /** Adds a flow that is in no queue. */
  add(slot: number): void {
    const { words } = this.#store;
    const previous = this.#newest;
    words[slot * RECORD_WORDS + OLDER] = previous;
    words[slot * RECORD_WORDS + NEWER] = NO_SLOT;
    if (previous === NO_SLOT) this.#oldest = slot;
    else words[previous * RECORD_WORDS + NEWER] = slot;
    this.#newest = slot;
  }

  /** Removes a flow that is in this queue. */
  remove(slot: number): void {
    const { words } = this.#store;
    const older = words[slot * RECORD_WORDS + OLDER] as number;
    const newer = words[slot * RECORD_WORDS + NEWER] as number;
    if (older === NO_SLOT) this.#oldest = newer;
    else words[older * RECORD_WORDS + NEWER] = newer;
    if (newer === NO_SLOT) this.#newest = older;
    else words[newer * RECORD_WORDS + OLDER] = older;
  }
}
