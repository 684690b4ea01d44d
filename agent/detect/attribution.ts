/**
 * Asks whose this node's end of a connection is, beside the way of the packets: the answer comes later, perhaps when the
 * connection has ended.
 *
 * A look costs time, so there are only so many a second. Who cannot be looked at now waits, and those that moved most
 * are next. Each priority has looks of its own: whatever others make a flood of, the programs of this node that connect
 * to an object manager are looked at.
 */
import type { Flow } from '../flow/flow.ts';
import type { Standing } from '../flow/standing.ts';
import { bytesOf } from './activity.ts';
import { heaviest } from './top.ts';
import { copyAddress, type Address } from '../../common/address.ts';
import type { SocketOwner } from '../../common/event.ts';

/** The process at one end of a connection. */
export interface FoundProcess {
  readonly description: SocketOwner;
  /** Undefined where that cannot be told. */
  readonly isRaylet: boolean | undefined;
  /** It is no raylet, and part of the Ray of one of this node: a worker, a driver. */
  readonly isOfRay?: true;
}

/** The processes of this node, as far as they may be looked into. */
export interface ProcessFinder {
  /** Whether the address is one of this node's. */
  isLocal(address: Address): boolean;
  /** Whether it is a connection of this very program, while it is open; left out, none is. */
  isOwn?(ends: {
    readonly local: Address;
    readonly localPort: number;
    readonly remote: Address;
    readonly remotePort: number;
  }): boolean;
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

/** What a connection is asked about for: this node opened it to an object manager, or else how far it got. */
export type LookPriority = 'outgoing' | Standing;

/** Looks from one tick to the next; together no more than the finder does in a second. */
export const LOOKS_A_TICK: Readonly<Record<LookPriority, number>> = {
  outgoing: 10,
  answered: 6,
  unproven: 3,
  attempt: 1,
};
const PRIORITIES = Object.keys(LOOKS_A_TICK) as LookPriority[];

/** @param hasEnded the flow has left the table, and no end of it will be told any more */
type Answer = (found: FoundProcess, hasEnded: boolean) => void;

interface Question<Tag> {
  readonly flow: Flow<Tag>;
  readonly end: LocalEnd;
  readonly priority: LookPriority;
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
  readonly #questions = new Map<Flow<Tag>, Question<Tag>>();
  /** Those that wait for a look, the first or another. */
  readonly #waiting: Readonly<Record<LookPriority, Set<Question<Tag>>>> = {
    outgoing: new Set(),
    answered: new Set(),
    unproven: new Set(),
    attempt: new Set(),
  };
  /** Looks that are left until the next tick. */
  #left = { ...LOOKS_A_TICK };
  /** Connections that ended before there was a look for them, by priority. */
  readonly turnedAway: Record<LookPriority, number> = { outgoing: 0, answered: 0, unproven: 0, attempt: 0 };

  constructor(finder: ProcessFinder) {
    this.#finder = finder;
  }

  /** Undefined where neither end is this node's: traffic that only passes by. */
  localEnd({ initiator, responder }: Flow<Tag>): LocalEnd | undefined {
    if (this.#finder.isLocal(initiator)) return 'initiator';
    return this.#finder.isLocal(responder) ? 'responder' : undefined;
  }

  /** Asks about a flow, unless that was done before; `answer` is called where the process is found. */
  ask(flow: Flow<Tag>, end: LocalEnd, priority: LookPriority, answer: Answer): void {
    if (this.#questions.has(flow)) return;
    const question = { flow, end, priority, answer, tries: 0, isPending: false, hasEnded: false };
    this.#questions.set(flow, question);
    if (this.#left[priority] > 0) void this.#find(question);
    else this.#waiting[priority].add(question);
  }

  /** Asks about those that wait, and once more about those that had no process. */
  tick(): void {
    this.#left = { ...LOOKS_A_TICK };
    for (const priority of PRIORITIES) {
      const next = heaviest(this.#waiting[priority], this.#left[priority], ({ flow }) => bytesOf(flow));
      for (const question of next) {
        this.#waiting[priority].delete(question);
        void this.#find(question);
      }
    }
  }

  /** To be called when a flow leaves the table: what is asked about it is answered from a copy. */
  ended(flow: Flow<Tag>): void {
    const question = this.#questions.get(flow);
    if (question === undefined) return;
    question.hasEnded = true;
    if (question.isPending) {
      flow.keep();
      return;
    }
    if (question.tries === 0) this.turnedAway[question.priority]++;
    this.forget(flow);
  }

  /** Takes back what was asked about a flow: it turned out to be another. */
  forget(flow: Flow<Tag>): void {
    const question = this.#questions.get(flow);
    if (question === undefined) return;
    this.#questions.delete(flow);
    this.#waiting[question.priority].delete(question);
  }

  /** No answer is given any more. */
  stop(): void {
    this.#questions.clear();
    for (const priority of PRIORITIES) this.#waiting[priority].clear();
  }

  async #find(question: Question<Tag>): Promise<void> {
    const { flow, end, priority, answer } = question;
    this.#left[priority]--;
    question.tries++;
    question.isPending = true;
    const found = await this.#finder.find(endsOf(flow, end));
    question.isPending = false;
    // The question was taken back meanwhile.
    if (this.#questions.get(flow) !== question) return;
    if (question.hasEnded) this.forget(flow);
    else if (found === undefined && question.tries < MAX_TRIES) this.#waiting[priority].add(question);
    if (found !== undefined) answer(found, question.hasEnded);
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
