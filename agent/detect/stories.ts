/**
 * Connections that belong to one story, however many there are: a story is reported with its first connection, then
 * again while it grows, and a last time when it has been quiet. One that opens held is not reported until it is told, or
 * never.
 */
import type { Flow } from '../flow/flow.ts';
import type { Anomaly, AnomalyKind, FlowRecord, Severity, SocketOwner, Verdict } from '../../common/event.ts';
import { formatTime } from '../../common/time.ts';

/** A growing story is reported again at most this often. */
const REPORT_INTERVAL_MS = 10_000;
/** A story without open connections ends after this time without a new one. */
const QUIET_MS = 60_000;

/** Where a story stands when it is reported. */
export type StoryPhase = 'opened' | 'growing' | 'over';

export interface StoriesOptions<Tag> {
  /** This node's name. */
  readonly node: string;
  readonly report: (anomaly: Anomaly, phase: StoryPhase) => void;
  readonly createId: () => string;
  /** Told of a story's first connection before the story is reported, and when that connection has ended or left it. */
  readonly began: (story: string, flow: Flow<Tag>) => void;
  readonly firstEnded: (story: string) => void;
  /** The flow as it stands now. */
  readonly describe: (flow: Flow<Tag>, service: string) => FlowRecord;
}

/** What a story is about; the same for all of its connections. */
export interface StorySubject {
  readonly kind: AnomalyKind;
  readonly severity: Severity;
  readonly verdict: Verdict;
  readonly service: string;
  readonly message: string;
}

/** How a story begins. */
export interface StoryOpening extends StorySubject {
  readonly owner?: SocketOwner;
  /** It is to be told or dropped later. */
  readonly isHeld?: boolean;
}

/** A story that goes on, or has gone on. */
export interface Story<Tag> {
  key: string;
  readonly id: string;
  subject: StorySubject;
  isHeld: boolean;
  readonly firstFlow: Flow<Tag>;
  /** The first flow as it was when it ended; until then it is read from `firstFlow`. */
  firstRecord: FlowRecord | undefined;
  /** Who has this node's end of one of its connections. */
  owner: SocketOwner | undefined;
  /** Behind the message, once the owner is known. */
  ownerText: string;
  readonly openFlows: Set<Flow<Tag>>;
  /** Connections so far. */
  count: number;
  /** Wire bytes of the connections that have ended. */
  endedBytes: number;
  firstTime: string;
  lastTime: string;
  lastTimeMs: number;
  reportedBytes: number;
  reportedCount: number;
  reportedAtMs: number;
}

export class Stories<Tag> {
  readonly #options: StoriesOptions<Tag>;
  readonly #maxStories: number;
  readonly #stories = new Map<string, Story<Tag>>();
  readonly #storyOfFlow = new Map<Flow<Tag>, Story<Tag>>();
  /** Connections whose story could not be kept because there were too many. */
  suppressed = 0;

  /** @param maxStories that are kept at a time; connections that would open more are counted */
  constructor(options: StoriesOptions<Tag>, maxStories: number) {
    this.#options = options;
    this.#maxStories = maxStories;
  }

  /** The story that a connection is part of, while it is open. */
  of(flow: Flow<Tag>): Story<Tag> | undefined {
    return this.#storyOfFlow.get(flow);
  }

  /**
   * Takes a connection that is in no story yet.
   * @param key what the connections of a story have in common
   * @param subject of the story, where this is its first connection
   */
  add(flow: Flow<Tag>, key: string, subject: () => StoryOpening, nowMs: number): void {
    const known = this.#stories.get(key);
    const story = known ?? this.#open(flow, key, subject, nowMs);
    if (story === undefined) return;
    story.count++;
    story.openFlows.add(flow);
    this.#storyOfFlow.set(flow, story);
    if (known === undefined && !story.isHeld) this.#report(story, 'opened', nowMs);
  }

  /**
   * Notes who has this node's end of a connection of the story, and reports the story again with that.
   * @param text of the owner, for the message
   */
  attribute(story: Story<Tag>, owner: SocketOwner, text: string, nowMs: number): void {
    if (story.owner !== undefined || this.#stories.get(story.key) !== story) return;
    story.owner = owner;
    story.ownerText = text;
    if (!story.isHeld) this.#report(story, 'growing', nowMs);
  }

  /** The first connection of a story, as it stands now or ended. */
  firstRecord({ firstRecord, firstFlow, subject }: Story<Tag>): FlowRecord {
    return firstRecord ?? this.#options.describe(firstFlow, subject.service);
  }

  /**
   * Tells a held story as what it is by now. Where another one has the key already, it becomes part of that, and its open
   * connections are returned, which are in no story then.
   */
  tell(
    story: Story<Tag>,
    key: string,
    subject: StorySubject,
    nowMs: number,
  ): readonly Flow<Tag>[] | undefined {
    const other = this.#stories.get(key);
    if (other !== undefined && other !== story) {
      other.count += story.count - story.openFlows.size;
      other.endedBytes += story.endedBytes;
      return this.drop(story);
    }
    this.#stories.delete(story.key);
    this.#stories.set(key, story);
    Object.assign(story, { key, subject, isHeld: false });
    this.#report(story, 'opened', nowMs);
    return undefined;
  }

  /** Forgets a held story, and returns its open connections, which are in no story then. */
  drop(story: Story<Tag>): readonly Flow<Tag>[] {
    this.#stories.delete(story.key);
    for (const flow of story.openFlows) this.#storyOfFlow.delete(flow);
    return [...story.openFlows];
  }

  /** Lets a flow go that has ended or is no part of a story any more; what it carried so far stays in its story. */
  release(flow: Flow<Tag>): void {
    const story = this.#storyOfFlow.get(flow);
    if (story === undefined) return;
    this.#storyOfFlow.delete(flow);
    story.openFlows.delete(flow);
    this.#advance(story, flow);
    story.endedBytes += bytesOf(flow);
    if (flow !== story.firstFlow) return;
    story.firstRecord = this.#options.describe(flow, story.subject.service);
    this.#options.firstEnded(story.id);
  }

  /** Reports what has grown, and forgets the stories that are over. */
  tick(nowMs: number): void {
    for (const story of this.#stories.values()) {
      if (story.isHeld) continue;
      for (const flow of story.openFlows) this.#advance(story, flow);
      const isOver = story.openFlows.size === 0 && nowMs - story.lastTimeMs > QUIET_MS;
      if (isOver) this.#close(story, nowMs);
      else if (nowMs - story.reportedAtMs >= REPORT_INTERVAL_MS && hasGrown(story)) {
        this.#report(story, 'growing', nowMs);
      }
    }
  }

  /** Reports the final state of every story and forgets them all. */
  end(nowMs: number): void {
    for (const story of this.#stories.values()) {
      for (const flow of story.openFlows) this.#advance(story, flow);
      this.#close(story, nowMs);
    }
    this.#storyOfFlow.clear();
  }

  #open(flow: Flow<Tag>, key: string, subject: () => StoryOpening, nowMs: number): Story<Tag> | undefined {
    if (this.#stories.size >= this.#maxStories) {
      this.suppressed++;
      return undefined;
    }
    const { owner, isHeld = false, ...rest } = subject();
    const { event } = this.#options.describe(flow, rest.service);
    const story: Story<Tag> = {
      key,
      id: this.#options.createId(),
      subject: rest,
      isHeld,
      firstFlow: flow,
      firstRecord: undefined,
      owner,
      ownerText: '',
      openFlows: new Set(),
      count: 0,
      endedBytes: 0,
      firstTime: event.start,
      lastTime: event.end,
      lastTimeMs: nowMs,
      reportedBytes: -1,
      reportedCount: 0,
      reportedAtMs: nowMs,
    };
    this.#stories.set(key, story);
    this.#options.began(story.id, flow);
    return story;
  }

  #advance(story: Story<Tag>, flow: Flow<Tag>): void {
    const flowLastMs = flow.lastSeconds * 1000 + flow.lastNanoseconds / 1e6;
    if (flowLastMs <= story.lastTimeMs) return;
    story.lastTimeMs = flowLastMs;
    story.lastTime = formatTime(flow.lastSeconds, flow.lastNanoseconds);
  }

  #close(story: Story<Tag>, nowMs: number): void {
    this.#report(story, 'over', nowMs);
    this.#stories.delete(story.key);
  }

  #report(story: Story<Tag>, phase: StoryPhase, nowMs: number): void {
    const { kind, severity, verdict, message } = story.subject;
    story.reportedAtMs = nowMs;
    story.reportedCount = story.count;
    story.reportedBytes = bytesOfStory(story);
    const anomaly: Anomaly = {
      type: 'anomaly',
      id: story.id,
      kind,
      severity,
      node: this.#options.node,
      verdict,
      flow: this.firstRecord(story),
      ...story.owner,
      count: story.count,
      bytes: story.reportedBytes,
      first: story.firstTime,
      last: story.lastTime,
      message: `${message}${story.ownerText}`.slice(0, MAX_MESSAGE_LENGTH),
    };
    this.#options.report(anomaly, phase);
  }
}

/** What the schema of an anomaly takes. */
const MAX_MESSAGE_LENGTH = 1024;

function bytesOf(flow: Flow<unknown>): number {
  return flow.initiator.bytes + flow.responder.bytes;
}

function bytesOfStory<Tag>(story: Story<Tag>): number {
  let bytes = story.endedBytes;
  for (const flow of story.openFlows) bytes += bytesOf(flow);
  return bytes;
}

function hasGrown<Tag>(story: Story<Tag>): boolean {
  return story.count !== story.reportedCount || bytesOfStory(story) !== story.reportedBytes;
}
