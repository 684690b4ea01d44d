/**
 * Connections that no rule allows, told as stories: one for each peer, node and service, however many connections
 * it makes.
 */
import type { Flow } from '../flow/flow.ts';
import type { AnomalyKind, FlowRecord, SocketOwner, Verdict } from '../../common/event.ts';
import { ownerInWords } from '../process/socket-owners.ts';
import { Stories, type StoriesOptions, type Story } from './stories.ts';
import type { Admission } from '../membership/membership.ts';
import { admissionSentence } from './admission.ts';

const MAX_STORIES = 10_000;

/** A connection that was judged, and not allowed. */
export interface UnexpectedConnection<Tag> {
  readonly flow: Flow<Tag>;
  readonly service: string;
  readonly verdict: Verdict;
  /** Whether the responder is a member of the cluster. */
  readonly toMember: boolean;
  /** Whether the initiator is a member of the cluster. */
  readonly fromMember: boolean;
  /** Who listed one of the two as a member, where the verdict is that nobody approved of it. */
  readonly admission?: Admission | undefined;
}

export class UnexpectedDetector<Tag> {
  readonly #describe: StoriesOptions<Tag>['describe'];
  readonly #stories: Stories<Tag>;

  constructor(options: StoriesOptions<Tag>) {
    this.#describe = options.describe;
    this.#stories = new Stories(options, MAX_STORIES);
  }

  /** Connections whose story could not be kept because there were too many. */
  get suppressed(): number {
    return this.#stories.suppressed;
  }

  /** Takes a connection that was judged unexpected; calling it again for the same flow changes nothing. */
  add(connection: UnexpectedConnection<Tag>, nowMs: number): void {
    const { flow, service, verdict } = connection;
    if (this.#stories.of(flow) !== undefined) return;
    const record = this.#describe(flow, service);
    const subject = () => {
      const kind = kindOf(connection);
      return {
        kind,
        severity: kind === 'former-member' ? ('warning' as const) : ('critical' as const),
        verdict,
        service,
        message: sentence(kind, record, connection),
      };
    };
    this.#stories.add(flow, storyKey(connection, record), subject, nowMs);
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

  /** Reports what has grown, and forgets the stories that are over. */
  tick(nowMs: number): void {
    this.#stories.tick(nowMs);
  }

  /** Reports the final state of every story and forgets them all. */
  end(nowMs: number): void {
    this.#stories.end(nowMs);
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
  'not-approved': 'it is listed as a member, and no rule approves of it',
};

function sentence(
  kind: AnomalyKind,
  { source, destination }: FlowRecord,
  { service, verdict, admission }: UnexpectedConnection<unknown>,
): string {
  const rule = verdict.rule === null ? '' : `: ${verdict.rule}`;
  const because =
    admission === undefined ? `${REASON_TEXT[verdict.reason]}${rule}` : admissionSentence(admission);
  if (kind === 'unexpected-destination') {
    return `Member ${source.ip} connects to ${service} port ${destination.port} of ${destination.ip}, which is no member (${because})`;
  }
  const who = kind === 'former-member' ? 'Former member' : 'Unexpected peer';
  return `${who} ${source.ip} talks to ${service} port ${destination.port} of ${destination.ip} (${because})`;
}
