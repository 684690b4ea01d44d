/**
 * Which activity gives way when the table of activities is full: the least significant one. Unproven ones go before
 * answered ones, then those that moved fewer bytes (by order of magnitude, so that the newest is not always the one),
 * then the one that is quiet for longest.
 *
 * Bytes grow without a word from the flow table, so no order can be kept up to date. Instead a part of the table is
 * chosen at a time, and each choice is checked again when it is used: the scan is paid by the evictions it serves.
 */
import { bytesOfActivity, type Activity } from './activity.ts';
import { rankOf } from './standing.ts';

/** The share of the activities that one scan chooses. */
const SHARE_OF_SCAN = 0.1;

interface Choice<Tag> {
  readonly activity: Activity<Tag>;
  readonly rank: number;
  readonly magnitude: number;
}

export class Victims<Tag> {
  /** The least significant last. */
  #chosen: Choice<Tag>[] = [];

  /**
   * The activity that gives way now; undefined where all are pending, which never give way.
   *
   * @param activities all there are, by key
   */
  next(activities: ReadonlyMap<string, Activity<Tag>>): Activity<Tag> | undefined {
    return this.#nextChosen(activities) ?? this.#scan(activities);
  }

  #scan(activities: ReadonlyMap<string, Activity<Tag>>): Activity<Tag> | undefined {
    this.#chosen = choose(activities);
    return this.#nextChosen(activities);
  }

  #nextChosen(activities: ReadonlyMap<string, Activity<Tag>>): Activity<Tag> | undefined {
    for (let choice = this.#chosen.pop(); choice !== undefined; choice = this.#chosen.pop()) {
      const { activity } = choice;
      if (activities.get(activity.key) === activity && isUnchanged(choice)) return activity;
    }
    return undefined;
  }
}

function choose<Tag>(activities: ReadonlyMap<string, Activity<Tag>>): Choice<Tag>[] {
  const choices: Choice<Tag>[] = [];
  for (const activity of activities.values()) if (!activity.isPending) choices.push(choiceOf(activity));
  choices.sort(
    (a, b) => a.rank - b.rank || a.magnitude - b.magnitude || a.activity.lastTimeMs - b.activity.lastTimeMs,
  );
  return choices.slice(0, Math.ceil(activities.size * SHARE_OF_SCAN)).toReversed();
}

function choiceOf<Tag>(activity: Activity<Tag>): Choice<Tag> {
  return { activity, rank: rankOf(activity.standing), magnitude: magnitudeOf(bytesOfActivity(activity)) };
}

/** Whether it is no more significant than when it was chosen. */
function isUnchanged<Tag>({ activity, rank, magnitude }: Choice<Tag>): boolean {
  const now = choiceOf(activity);
  return !activity.isPending && now.rank === rank && now.magnitude === magnitude;
}

/** 0 up to 1 KiB, 1 up to 4 KiB, and so on by factors of four. */
function magnitudeOf(bytes: number): number {
  return Math.max(0, Math.floor(Math.log2(Math.max(bytes, 1)) / 2) - 4);
}
