/**
 * Asks whose this node's end of a connection is, beside the way of the packets: the answer comes later, perhaps when the
 * connection has ended.
 */
import type { Flow } from '../flow/flow.ts';
import { copyAddress, type Address } from '../../common/address.ts';
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

interface Question {
  readonly end: LocalEnd;
  readonly answer: Answer;
  tries: number;
  /** Whether the finder is at it. */
  isPending: boolean;
  hasEnded: boolean;
}

/** An end that has only just been called has no process yet: it is asked about once more, a tick later. */
const MAX_TRIES = 2;

export class Attribution<Tag> {
  readonly #finder: ProcessFinder;
  /** About flows of the table, and those that have left it before the answer came. */
  readonly #questions = new Map<Flow<Tag>, Question>();
  /** Flows to ask about once more. */
  readonly #unanswered = new Set<Flow<Tag>>();

  constructor(finder: ProcessFinder) {
    this.#finder = finder;
  }

  /** Undefined where neither end is this node's: traffic that only passes by. */
  localEnd({ initiator, responder }: Flow<Tag>): LocalEnd | undefined {
    if (this.#finder.isLocal(initiator)) return 'initiator';
    return this.#finder.isLocal(responder) ? 'responder' : undefined;
  }

  /** Asks about a flow, unless that was done before; `answer` is called where the process is found. */
  ask(flow: Flow<Tag>, end: LocalEnd, answer: Answer): void {
    if (this.#questions.has(flow)) return;
    const question = { end, answer, tries: 0, isPending: false, hasEnded: false };
    this.#questions.set(flow, question);
    void this.#find(flow, question);
  }

  /** Asks once more about those that had no process. */
  tick(): void {
    for (const flow of this.#unanswered) {
      const question = this.#questions.get(flow);
      if (question !== undefined) void this.#find(flow, question);
    }
    this.#unanswered.clear();
  }

  /** To be called when a flow leaves the table: what is asked about it is answered from a copy. */
  ended(flow: Flow<Tag>): void {
    const question = this.#questions.get(flow);
    if (question === undefined) return;
    question.hasEnded = true;
    if (question.isPending) flow.keep();
    else this.forget(flow);
  }

  /** Takes back what was asked about a flow: it turned out to be another. */
  forget(flow: Flow<Tag>): void {
    this.#questions.delete(flow);
    this.#unanswered.delete(flow);
  }

  /** No answer is given any more. */
  stop(): void {
    this.#questions.clear();
    this.#unanswered.clear();
  }

  async #find(flow: Flow<Tag>, question: Question): Promise<void> {
    question.tries++;
    question.isPending = true;
    const found = await this.#finder.find(endsOf(flow, question.end));
    question.isPending = false;
    // The question was taken back meanwhile.
    if (this.#questions.get(flow) !== question) return;
    if (question.hasEnded) this.forget(flow);
    else if (found === undefined && question.tries < MAX_TRIES) this.#unanswered.add(flow);
    if (found !== undefined) question.answer(found, question.hasEnded);
  }
}

/** By value: a flow's sides go on changing. */
function endsOf(
  { initiator, responder }: Flow<unknown>,
  end: LocalEnd,
): Parameters<ProcessFinder['find']>[0] {
  const [local, remote] = end === 'initiator' ? [initiator, responder] : [responder, initiator];
  return {
    local: copyAddress(local),
    localPort: local.port,
    remote: copyAddress(remote),
    remotePort: remote.port,
  };
}
