/**
 * When a flow ends: three queues, one for each time limit, each in the order of the last packet. So the flows to
 * end, or to evict when the table is full, are always at the front, and a packet costs one move to the back.
 */
import type { Flow } from './flow.ts';

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

/** Flows in the order of their last packet: a list through the flows' own links. */
export class FlowQueue<Tag> {
  #oldest: Flow<Tag> | undefined = undefined;
  #newest: Flow<Tag> | undefined = undefined;

  get oldest(): Flow<Tag> | undefined {
    return this.#oldest;
  }

  /** Adds a flow that is in no queue. */
  add(flow: Flow<Tag>): void {
    const previous = this.#newest;
    flow.older = previous;
    flow.newer = undefined;
    if (previous === undefined) this.#oldest = flow;
    else previous.newer = flow;
    this.#newest = flow;
  }

  /** Removes a flow that is in this queue. */
  remove(flow: Flow<Tag>): void {
    const { older, newer } = flow;
    if (older === undefined) this.#oldest = newer;
    else older.newer = newer;
    if (newer === undefined) this.#newest = older;
    else newer.older = older;
    flow.older = undefined;
    flow.newer = undefined;
  }

  /** Makes a flow of this queue its newest. */
  renew(flow: Flow<Tag>): void {
    if (this.#newest === flow) return;
    this.remove(flow);
    this.add(flow);
  }
}
