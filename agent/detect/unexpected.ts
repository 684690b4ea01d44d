/**
 * Connections that no rule allows, told as stories: one for each peer, node and service, however many connections
 * it makes. A story is reported with its first connection, then again while it grows, and a last time when it has
 * been quiet.
 */
import type { Flow } from '../flow/flow.ts';
import type { Anomaly, AnomalyKind, FlowRecord, Severity, Verdict } from '../../common/event.ts';
import { formatTime } from '../../common/time.ts';

/** A growing story is reported again at most this often. */
const REPORT_INTERVAL_MS = 10_000;
/** A story without open connections ends after this time without a new one. */
const QUIET_MS = 60_000;
/** Stories that are kept at a time; connections that would open more are counted. */
const MAX_STORIES = 10_000;

/** Where a story stands when it is reported. */
export type StoryPhase = 'opened' | 'growing' | 'over';

/** A connection that was judged, and not allowed. */
export interface UnexpectedConnection<Tag> {
  readonly flow: Flow<Tag>;
  readonly service: string;
  readonly verdict: Verdict;
  /** Whether the responder is a member of the cluster. */
  readonly toMember: boolean;
  /** Whether the initiator is a member of the cluster. */
  readonly fromMember: boolean;
}

interface UnexpectedDetectorOptions<Tag> {
  /** This node's name. */
  readonly node: string;
  readonly report: (anomaly: Anomaly, phase: StoryPhase) => void;
  readonly createId: () => string;
  /** Told of a story's first connection before the story is reported, and when that connection has ended or is allowed. */
  readonly began: (story: string, flow: Flow<Tag>) => void;
  readonly firstEnded: (story: string) => void;
  /** The flow as it stands now. */
  readonly describe: (flow: Flow<Tag>, service: string) => FlowRecord;
}

interface Story<Tag> {
  readonly key: string;
  readonly id: string;
  readonly kind: AnomalyKind;
  readonly severity: Severity;
  readonly verdict: Verdict;
  readonly service: string;
  readonly message: string;
  readonly firstFlow: Flow<Tag>;
  /** The first flow as it was when it ended; until then it is read from `firstFlow`. */
  firstRecord: FlowRecord | undefined;
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

export class UnexpectedDetector<Tag> {
  readonly #options: UnexpectedDetectorOptions<Tag>;
  readonly #stories = new Map<string, Story<Tag>>();
  readonly #storyOfFlow = new Map<Flow<Tag>, Story<Tag>>();
  /** Connections whose story could not be kept because there were too many. */
  suppressed = 0;

  constructor(options: UnexpectedDetectorOptions<Tag>) {
    this.#options = options;
  }

  /** Takes a connection that was judged unexpected; calling it again for the same flow changes nothing. */
  add(connection: UnexpectedConnection<Tag>, nowMs: number): void {
    const { flow } = connection;
    if (this.#storyOfFlow.has(flow)) return;
    const record = this.#options.describe(flow, connection.service);
    const key = storyKey(connection, record);
    const known = this.#stories.get(key);
    const story = known ?? this.#open(key, connection, record, nowMs);
    if (story === undefined) return;
    story.count++;
    story.openFlows.add(flow);
    this.#storyOfFlow.set(flow, story);
    if (known === undefined) this.#report(story, 'opened', nowMs);
  }

  /** Lets a flow go that has ended or is allowed now; what it carried so far stays in its story. */
  release(flow: Flow<Tag>): void {
    const story = this.#storyOfFlow.get(flow);
    if (story === undefined) return;
    this.#storyOfFlow.delete(flow);
    story.openFlows.delete(flow);
    this.#advance(story, flow);
    story.endedBytes += bytesOf(flow);
    if (flow !== story.firstFlow) return;
    story.firstRecord = this.#options.describe(flow, story.service);
    this.#options.firstEnded(story.id);
  }

  /** Reports what has grown, and forgets the stories that are over. */
  tick(nowMs: number): void {
    for (const story of this.#stories.values()) {
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

  #open(
    key: string,
    connection: UnexpectedConnection<Tag>,
    record: FlowRecord,
    nowMs: number,
  ): Story<Tag> | undefined {
    if (this.#stories.size >= MAX_STORIES) {
      this.suppressed++;
      return undefined;
    }
    const kind = kindOf(connection);
    const story: Story<Tag> = {
      key,
      id: this.#options.createId(),
      kind,
      severity: kind === 'former-member' ? 'warning' : 'critical',
      verdict: connection.verdict,
      service: connection.service,
      message: sentence(kind, record, connection),
      firstFlow: connection.flow,
      firstRecord: undefined,
      openFlows: new Set(),
      count: 0,
      endedBytes: 0,
      firstTime: record.event.start,
      lastTime: record.event.end,
      lastTimeMs: nowMs,
      reportedBytes: -1,
      reportedCount: 0,
      reportedAtMs: nowMs,
    };
    this.#stories.set(key, story);
    this.#options.began(story.id, connection.flow);
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
    story.reportedAtMs = nowMs;
    story.reportedCount = story.count;
    story.reportedBytes = bytesOfStory(story);
    const anomaly: Anomaly = {
      type: 'anomaly',
      id: story.id,
      kind: story.kind,
      severity: story.severity,
      node: this.#options.node,
      verdict: story.verdict,
      flow: story.firstRecord ?? this.#options.describe(story.firstFlow, story.service),
      count: story.count,
      bytes: story.reportedBytes,
      first: story.firstTime,
      last: story.lastTime,
      message: story.message,
    };
    this.#options.report(anomaly, phase);
  }
}

function storyKey(
  { service, verdict }: UnexpectedConnection<unknown>,
  { source, destination }: FlowRecord,
): string {
  return `${verdict.reason} ${source.ip} ${destination.ip} ${service}`;
}

/**
 * A push to an address outside the cluster is an unexpected destination; everybody else who comes is an unexpected
 * peer, or a former member where the verdict says so.
 */
function kindOf({ verdict, toMember, fromMember }: UnexpectedConnection<unknown>): AnomalyKind {
  if (verdict.reason === 'former-member') return 'former-member';
  return fromMember && !toMember ? 'unexpected-destination' : 'unexpected-peer';
}

const REASON_TEXT: Readonly<Record<Verdict['reason'], string>> = {
  allowed: 'allowed',
  'no-rule': 'no rule allows it',
  expired: 'the rule that allowed it has expired',
  'outside-hours': 'the rule that allows it does not hold at this hour',
  'former-member': 'it has left the cluster',
  'wrong-service': 'rules allow it other services only',
};

function sentence(
  kind: AnomalyKind,
  { source, destination }: FlowRecord,
  { service, verdict }: UnexpectedConnection<unknown>,
): string {
  const because = `${REASON_TEXT[verdict.reason]}${verdict.rule === null ? '' : `: ${verdict.rule}`}`;
  if (kind === 'unexpected-destination') {
    return `Member ${source.ip} connects to ${service} port ${destination.port} of ${destination.ip}, which is no member (${because})`;
  }
  const who = kind === 'former-member' ? 'Former member' : 'Unexpected peer';
  return `${who} ${source.ip} talks to ${service} port ${destination.port} of ${destination.ip} (${because})`;
}

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
