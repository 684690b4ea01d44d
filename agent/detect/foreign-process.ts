/**
 * Programs of this node that talk to an object manager and are no raylet: Ray's workers and drivers never do, so this is
 * an insider, also where the rules allow the node. One story for each program of a user, however often it is started.
 */
import type { Flow } from '../flow/flow.ts';
import type { SocketOwner, Verdict } from '../../common/event.ts';
import { ownerInWords } from '../process/socket-owners.ts';
import { Stories, type StoriesOptions } from './stories.ts';

const MAX_STORIES = 1000;

/** A connection that a program of this node opened to an object manager. */
interface ForeignConnection<Tag> {
  readonly flow: Flow<Tag>;
  readonly service: string;
  readonly verdict: Verdict;
  readonly owner: SocketOwner;
}

export class ForeignProcessDetector<Tag> {
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

  /** Takes a connection once its owner is known. */
  add({ flow, service, verdict, owner }: ForeignConnection<Tag>, nowMs: number): void {
    if (this.#stories.of(flow) !== undefined) return;
    const { destination } = this.#describe(flow, service);
    const subject = () => ({
      kind: 'foreign-process' as const,
      severity: 'critical' as const,
      verdict,
      service,
      owner,
      message: `A program that is no raylet talks to ${service} port ${destination.port} of ${destination.ip}: ${ownerInWords(owner)}`,
    });
    this.#stories.add(flow, programOf(owner, service), subject, nowMs);
  }

  /** Lets a flow go that has ended; what it carried so far stays in its story. */
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

function programOf({ process, user, container }: SocketOwner, service: string): string {
  const program = process?.executable ?? process?.name;
  return JSON.stringify([service, user?.id, program, container?.id]);
}
