/**
 * Programs of this node that talk to an object manager and are no raylet: Ray's workers and drivers never do, so this is
 * an insider, also where the rules allow the node. One activity for each program of a user, however often it is started.
 */
import type { Flow } from '../flow/flow.ts';
import type { Standing } from '../flow/standing.ts';
import type { SocketOwner, Verdict } from '../../common/event.ts';
import { RAYLET_FILE } from '../ray/raylet-proof.ts';
import { ownerInWords } from '../process/socket-owners.ts';
import { ActivityTracker, type ActivityOptions } from './activities.ts';
import type { ActivityOpening } from './activity.ts';

/** A user may name as many programs as it likes: the least significant activity gives way. */
export const MAX_FOREIGN_ACTIVITIES = 1000;

/** A connection that a program of this node opened to an object manager. */
interface ForeignConnection<Tag> {
  readonly flow: Flow<Tag>;
  readonly service: string;
  readonly standing: Standing;
  readonly verdict: Verdict;
  readonly owner: SocketOwner;
}

export class ForeignProcessDetector<Tag> {
  readonly #describe: ActivityOptions<Tag>['describe'];
  readonly #activities: ActivityTracker<Tag>;

  constructor(options: ActivityOptions<Tag>) {
    this.#describe = options.describe;
    this.#activities = new ActivityTracker(options, MAX_FOREIGN_ACTIVITIES);
  }

  /** Connections that are, or were, in no activity because there was no room. */
  get suppressed(): number {
    return this.#activities.suppressed;
  }

  /** Takes a connection once its owner is known, and again when it proves more. */
  add(connection: ForeignConnection<Tag>, nowMs: number): void {
    const { flow, service, standing, owner } = connection;
    const open = (): ActivityOpening => this.#openingOf(connection);
    this.#activities.add({ flow, key: programOf(owner, service), standing, open }, nowMs);
  }

  /** Lets a flow go that is another; what it carried so far stays in its activity. */
  release(flow: Flow<Tag>): void {
    this.#activities.release(flow);
  }

  /** Lets a flow go that ends, after all that it carried was taken in. */
  flowEnded(flow: Flow<Tag>): void {
    this.#activities.flowEnded(flow);
  }

  /** Reports what has grown, and forgets the activities that are over. */
  tick(nowMs: number): void {
    this.#activities.tick(nowMs);
  }

  /** Reports the final state of every activity and forgets them all. */
  end(nowMs: number): void {
    this.#activities.end(nowMs);
  }

  #openingOf({ flow, service, standing, verdict, owner }: ForeignConnection<Tag>): ActivityOpening {
    const { destination } = this.#describe(flow, service);
    const hint =
      owner.process?.executable?.endsWith(RAYLET_FILE) === true
        ? '; its file lies where Ray has the raylet: if it is yours, name its user in the settings (`ray.user`)'
        : '';
    const does = standing === 'attempt' ? 'tried to connect to' : 'talks to';
    return {
      kind: 'foreign-process',
      severity: standing === 'attempt' ? 'warning' : 'critical',
      verdict,
      service,
      owner,
      message: `A program that is no raylet ${does} ${service} port ${destination.port} of ${destination.ip}: ${ownerInWords(owner)}${hint}`,
    };
  }
}

function programOf({ process, user, container }: SocketOwner, service: string): string {
  const program = process?.executable ?? process?.name;
  return JSON.stringify([service, user?.id, program, container?.id]);
}
