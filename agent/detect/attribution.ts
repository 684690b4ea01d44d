/**
 * Asks whose this node's end of a connection is, beside the way of the packets: the answer comes later, perhaps when the
 * connection has ended.
 */
import type { Flow, FlowSide } from '../flow/flow.ts';
import type { Address } from '../../common/address.ts';
import type { SocketOwner } from '../../common/event.ts';

/** The process at one end of a connection. */
export interface FoundProcess {
  readonly description: SocketOwner;
  /** Undefined where that cannot be told. */
  readonly isRaylet: boolean | undefined;
}

/** The processes of this node, as far as they may be looked into. */
export interface ProcessFinder {
  /** Whether the address is one of this node's. */
  isLocal(address: Address): boolean;
  /** Whose socket it is; undefined where that cannot be found out. */
  find(ends: {
    readonly local: Address;
    readonly localPort: number;
    readonly remote: Address;
    readonly remotePort: number;
  }): Promise<FoundProcess | undefined>;
}

/** Which end of a connection is this node's; the initiator's where both are. */
export type LocalEnd = 'initiator' | 'responder';

/** @param hasEnded the flow has left the table, and no end of it will be told any more */
type Answer = (found: FoundProcess, hasEnded: boolean) => void;

export class Attribution<Tag> {
  readonly #finder: ProcessFinder;
  /** Flows of the table about which was asked, and those that have left it before the answer came. */
  readonly #asked = new Map<Flow<Tag>, { isAnswered: boolean; hasEnded: boolean }>();

  constructor(finder: ProcessFinder) {
    this.#finder = finder;
  }

  /** Undefined where neither end is this node's: traffic that only passes by. */
  localEnd({ initiator, responder }: Flow<Tag>): LocalEnd | undefined {
    if (this.#finder.isLocal(initiator)) return 'initiator';
    return this.#finder.isLocal(responder) ? 'responder' : undefined;
  }

  /** Asks about a flow, once; `answer` is called where the process is found. */
  ask(flow: Flow<Tag>, end: LocalEnd, answer: Answer): void {
    if (this.#asked.has(flow)) return;
    const state = { isAnswered: false, hasEnded: false };
    this.#asked.set(flow, state);
    const [local, remote] =
      end === 'initiator' ? [flow.initiator, flow.responder] : [flow.responder, flow.initiator];
    void this.#finder
      .find({
        local: addressOf(local),
        localPort: local.port,
        remote: addressOf(remote),
        remotePort: remote.port,
      })
      .then((found) => {
        if (this.#asked.get(flow) !== state) return;
        if (state.hasEnded) this.#asked.delete(flow);
        state.isAnswered = true;
        if (found !== undefined) answer(found, state.hasEnded);
      });
  }

  /** To be called when a flow leaves the table: what is asked about it is answered from a copy. */
  ended(flow: Flow<Tag>): void {
    const state = this.#asked.get(flow);
    if (state === undefined) return;
    state.hasEnded = true;
    if (state.isAnswered) this.#asked.delete(flow);
    else flow.keep();
  }

  /** Takes back what was asked about a flow: it turned out to be another. */
  forget(flow: Flow<Tag>): void {
    this.#asked.delete(flow);
  }

  /** No answer is given any more. */
  stop(): void {
    this.#asked.clear();
  }
}

/** By value: a flow's sides go on changing. */
function addressOf({ w0, w1, w2, w3 }: FlowSide): Address {
  return { w0, w1, w2, w3 };
}
