/**
 * Open connections that are in no activity, because theirs gave way or did not get in. They are known until they end: one
 * that moves data later becomes part of an activity again.
 */
import type { Flow } from '../flow/flow.ts';
import { bytesOf, type Candidate } from './activity.ts';

export interface Unfollowed<Tag> {
  /** What would be added; its facts are those of the last time that the flow was judged. */
  readonly candidate: Candidate<Tag>;
  /** Wire bytes of the flow that an earlier activity has reported. */
  readonly reportedBytes: number;
}

/** Bounded by the flow table: a flow leaves it here when it leaves it there. */
export class UnfollowedFlows<Tag> {
  readonly #flows = new Map<Flow<Tag>, Unfollowed<Tag>>();

  get size(): number {
    return this.#flows.size;
  }

  of(flow: Flow<Tag>): Unfollowed<Tag> | undefined {
    return this.#flows.get(flow);
  }

  /** @param reportedBytes of the flow, in the activity that it leaves */
  add(candidate: Candidate<Tag>, reportedBytes: number): void {
    this.#flows.set(candidate.flow, { candidate, reportedBytes });
  }

  /** Takes note of another judgement of a flow that is here. */
  update(unfollowed: Unfollowed<Tag>, candidate: Candidate<Tag>): void {
    this.#flows.set(candidate.flow, { ...unfollowed, candidate });
  }

  /** Takes a flow out. */
  delete(flow: Flow<Tag>): void {
    this.#flows.delete(flow);
  }

  /** The flows that moved something which no activity has reported. */
  *grown(): Generator<Unfollowed<Tag>> {
    for (const unfollowed of this.#flows.values()) if (growthOf(unfollowed) > 0) yield unfollowed;
  }

  clear(): void {
    this.#flows.clear();
  }
}

/** Wire bytes that no activity has reported. */
export function growthOf<Tag>({ candidate, reportedBytes }: Unfollowed<Tag>): number {
  return bytesOf(candidate.flow) - reportedBytes;
}
