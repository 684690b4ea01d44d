/**
 * Against half a list: a source that suddenly leaves out most of the members it told of before has more likely lost its
 * memory (a head that starts anew, a proxy that cuts) than the cluster has lost its nodes.
 *
 * The rule: where more than half of the members are missing at once, and the source does not say that they have ended,
 * they stay until three later looks, over thirty seconds at least, have left them out as well. A view that is partial by
 * its own word ends nobody.
 */
import type { GroupView, Member } from './provider.ts';

const CONFIRMING_LOOKS = 3;
const CONFIRMING_MS = 30_000;

export class ShrinkGuard {
  #doubt: { readonly sinceMs: number; looks: number } | undefined;

  /** Whether members are kept at the moment that the source leaves out. */
  get isInDoubt(): boolean {
    return this.#doubt !== undefined;
  }

  /** The members that stand after a view: its own, and those before whose end is in doubt. */
  admit(before: readonly Member[], view: GroupView, nowMs: number): readonly Member[] {
    if (view.members === before) return before;
    const listed = new Set(view.members.map(({ id }) => id));
    const ended = new Set(view.ended);
    const others = before.filter(({ isLocal }) => isLocal !== true);
    const missing = others.filter(({ id }) => !listed.has(id) && !ended.has(id));
    if (view.isPartial === true) return [...view.members, ...missing];
    if (missing.length * 2 <= others.length || this.#isConfirmed(nowMs)) {
      this.#doubt = undefined;
      return view.members;
    }
    return [...view.members, ...missing];
  }

  #isConfirmed(nowMs: number): boolean {
    if (this.#doubt === undefined) {
      this.#doubt = { sinceMs: nowMs, looks: 0 };
      return false;
    }
    this.#doubt.looks++;
    return this.#doubt.looks >= CONFIRMING_LOOKS && nowMs - this.#doubt.sinceMs >= CONFIRMING_MS;
  }
}
