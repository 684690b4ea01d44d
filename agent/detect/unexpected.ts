/**
 * Connections that no rule allows, told as stories: one for each peer, node and service, however many connections
 * it makes.
 *
 * Somebody unknown may be a node that has just joined. Where a source can be asked, his story opens held: it is told or
 * dropped by the first look at the sources that was begun late enough after his packet, and told in any case when the
 * grace time is over.
 */
import type { Flow } from '../flow/flow.ts';
import type { Standing } from '../flow/standing.ts';
import type { LookResult } from '../membership/provider.ts';
import { ownerInWords } from '../process/socket-owners.ts';
import { Stories, type StoriesOptions, type Story, type StorySubject } from './stories.ts';
import { kindOf, sentenceOf, type Judged } from './wording.ts';
import { copyAddress, type Address } from '../../common/address.ts';
import type { FlowRecord, SocketOwner, Verdict } from '../../common/event.ts';

const MAX_STORIES = 10_000;
/** A look that was begun sooner after the packet may have missed a node whose join was under way. */
export const SETTLE_MS = 250;

/** The ends of a connection, by value: a flow's own go on changing. */
export interface Ends {
  readonly initiator: Address;
  readonly responder: Address & { readonly port: number };
  /** The time of the packet that it is judged by. */
  readonly timeMs: number;
}

/** A connection that was judged, and not allowed. */
export interface UnexpectedConnection<Tag> extends Judged {
  readonly flow: Flow<Tag>;
  readonly service: string;
  /** How much its packets prove of it. */
  readonly standing: Standing;
  /** The time of the packet that it was judged by. */
  readonly timeMs: number;
  /** Since when its story waits for a fresh look, in ms since the epoch; left out where it is told at once. */
  readonly waitsSinceMs?: number | undefined;
}

/** A look at all sources of the membership. */
export interface Look {
  readonly begunMs: number;
  readonly result: LookResult;
}

interface UnexpectedOptions<Tag> extends StoriesOptions<Tag> {
  /** So long a story is held at most, in ms. */
  readonly graceMs: number;
  /** A held story was reported just now. */
  readonly told: (story: string) => void;
  /** A held story is none; its open connections are to be judged again. */
  readonly dropped: (story: string, open: readonly Flow<Tag>[]) => void;
  /** Judges the first connection of a held story again; undefined where it is allowed. */
  readonly judgeAgain: (ends: Ends) => Judged | undefined;
}

interface Waiting<Tag> {
  readonly story: Story<Tag>;
  /** Of the first connection. */
  readonly ends: Ends;
  readonly sinceMs: number;
}

export class UnexpectedDetector<Tag> {
  readonly #options: UnexpectedOptions<Tag>;
  readonly #stories: Stories<Tag>;
  /** By id of the story that is held. */
  readonly #waiting = new Map<string, Waiting<Tag>>();

  constructor(options: UnexpectedOptions<Tag>) {
    this.#options = options;
    this.#stories = new Stories(options, MAX_STORIES);
  }

  /** Connections whose story could not be kept because there were too many. */
  get suppressed(): number {
    return this.#stories.suppressed;
  }

  /** Stories that wait for a look. */
  get heldCount(): number {
    return this.#waiting.size;
  }

  /** Whether the story was opened and is not told yet. */
  isHeld(story: string): boolean {
    return this.#waiting.has(story);
  }

  /** Takes a connection that was judged unexpected; calling it again for the same flow changes nothing. */
  add(connection: UnexpectedConnection<Tag>): void {
    const { flow, service, verdict, timeMs, waitsSinceMs, standing } = connection;
    const known = this.#stories.of(flow);
    if (known !== undefined && (standing === 'attempt' || !known.key.startsWith(ATTEMPT))) return;
    if (known !== undefined) this.#stories.release(flow);
    const record = this.#options.describe(flow, service);
    const opening = () =>
      Object.assign(subjectOf(record, service, connection), {
        isHeld: waitsSinceMs !== undefined,
        ...(standing === 'attempt' ? { severity: 'warning' as const } : {}),
      });
    this.#stories.add(flow, storyKey(verdict, service, record, standing), opening, timeMs);
    const story = this.#stories.of(flow);
    if (story?.isHeld !== true || waitsSinceMs === undefined || this.#waiting.has(story.id)) return;
    this.#waiting.set(story.id, { story, ends: endsOf(flow, timeMs), sinceMs: waitsSinceMs });
  }

  /** The story of a flow that asks whose it is: undefined where it is in none, or where that is known already. */
  unattributed(flow: Flow<Tag>): Story<Tag> | undefined {
    const story = this.#stories.of(flow);
    return story?.owner === undefined ? story : undefined;
  }

  /** Notes who has this node's end of a connection of the story. */
  attribute(story: Story<Tag>, owner: SocketOwner, nowMs: number): void {
    this.#stories.attribute(story, owner, `; here it is ${ownerInWords(owner)}`, nowMs);
  }

  /** Lets a flow go that has ended or is allowed now; what it carried so far stays in its story. */
  release(flow: Flow<Tag>): void {
    this.#stories.release(flow);
  }

  /** Tells or drops the held stories that the look decides. */
  decide(look: Look, nowMs: number): void {
    for (const waiting of Array.from(this.#waiting.values())) this.#decide(waiting, nowMs, look);
  }

  /** Reports what has grown, and forgets the stories that are over. */
  tick(nowMs: number): void {
    for (const waiting of Array.from(this.#waiting.values())) this.#decide(waiting, nowMs);
    this.#stories.tick(nowMs);
  }

  /** Reports the final state of every story and forgets them all. */
  end(nowMs: number): void {
    for (const waiting of Array.from(this.#waiting.values()))
      this.#decide(waiting, waiting.sinceMs + this.#options.graceMs);
    this.#stories.end(nowMs);
  }

  #decide({ story, ends, sinceMs }: Waiting<Tag>, nowMs: number, look?: Look): void {
    const judged = this.#options.judgeAgain(ends);
    const isDecisive = look?.result === 'answered' && look.begunMs - sinceMs >= SETTLE_MS;
    if (judged !== undefined && !isDecisive && nowMs - sinceMs < this.#options.graceMs) return;
    this.#waiting.delete(story.id);
    const open = judged === undefined ? this.#stories.drop(story) : this.#tell(story, judged, nowMs);
    if (open === undefined) this.#options.told(story.id);
    else this.#options.dropped(story.id, open);
  }

  /** Tells a story as what its first connection is by now. */
  #tell(story: Story<Tag>, judged: Judged, nowMs: number): readonly Flow<Tag>[] | undefined {
    const { service } = story.subject;
    const record = this.#stories.firstRecord(story);
    const key = storyKey(judged.verdict, service, record);
    return this.#stories.tell(story, key, subjectOf(record, service, judged), nowMs);
  }
}

const ATTEMPT = 'attempt ';

function storyKey(
  { reason }: Verdict,
  service: string,
  { source, destination }: FlowRecord,
  standing: Standing = 'answered',
): string {
  return `${standing === 'attempt' ? ATTEMPT : ''}${reason} ${source.ip} ${destination.ip} ${service}`;
}

function subjectOf(record: FlowRecord, service: string, judged: Judged): StorySubject {
  const kind = kindOf(judged);
  return {
    kind,
    severity: kind === 'former-member' ? 'warning' : 'critical',
    verdict: judged.verdict,
    service,
    message: sentenceOf(record, service, judged),
  };
}

function endsOf<Tag>({ initiator, responder }: Flow<Tag>, timeMs: number): Ends {
  return {
    initiator: copyAddress(initiator),
    responder: { ...copyAddress(responder), port: responder.port },
    timeMs,
  };
}
