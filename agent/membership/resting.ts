/**
 * A provider that leaves its source alone while another agent reads the same one: it shows the view that the collector
 * hands out, and reads the source itself where there is none. What it reads is offered to the others.
 */
import type { Clock } from '../../common/clock.ts';
import { LookLoop } from './look-loop.ts';
import type { GroupView, LookResult, Provider } from './provider.ts';
import type { ForeignView, SharedMembers } from './shared.ts';

const LOOK_INTERVAL_MS = 1000;
/** A view that is unchanged is offered again this often: the others wait three times as long before they read themselves. */
const RENEW_MS = 5000;

interface RestingOptions {
  /** The provider's name, whoever reads the source. */
  readonly name: string;
  /** A new provider that reads the source. */
  readonly create: () => Provider;
  /** What the agents that read the same source agree on, and no others; undefined while that is not known. */
  readonly findKey: () => Promise<string | undefined>;
  readonly shared: Pick<SharedMembers, 'restOn' | 'offer'>;
  /** A view that is older than this is of a source that is away: somebody else may try. */
  readonly freshMs: number;
  readonly clock: Clock;
}

export function createRestingProvider({
  name,
  create,
  findKey,
  shared,
  freshMs,
  clock,
}: RestingOptions): Provider {
  let publish: ((view: GroupView) => void) | undefined;
  let own: Provider | undefined;
  let ownView: GroupView | undefined;
  let offeredView: GroupView | undefined;
  let offeredAtMs = -Infinity;
  let shownAsOfMs: number | undefined;
  let key: string | undefined;

  async function look(isUrgent: boolean): Promise<LookResult> {
    key ??= await findKey();
    const foreign = key === undefined ? undefined : shared.restOn(key);
    // Somebody unknown talks: the reporter's next view may come too late.
    const result = foreign !== undefined && !isUrgent ? await rest(foreign) : await read(isUrgent);
    if (key !== undefined && foreign === undefined) offer(key);
    return result;
  }

  async function rest({ members, asOfMs }: ForeignView): Promise<LookResult> {
    const reading = own;
    own = undefined;
    await reading?.stop();
    if (asOfMs !== shownAsOfMs) publish?.({ members, prefixes: [], asOfMs });
    shownAsOfMs = asOfMs;
    return 'answered';
  }

  async function read(isUrgent: boolean): Promise<LookResult> {
    shownAsOfMs = undefined;
    if (own !== undefined) return isUrgent ? ((await own.refresh?.()) ?? 'answered') : 'answered';
    own = create();
    await own.start((view) => {
      ownView = view;
      publish?.(view);
    });
    return 'answered';
  }

  function offer(to: string): void {
    const nowMs = clock.monotonic();
    const isDue = ownView?.members !== offeredView?.members || nowMs - offeredAtMs >= RENEW_MS;
    if (ownView === undefined || !isDue) return;
    const ageMs = nowMs - (ownView.asOfMs ?? nowMs);
    if (ageMs >= freshMs || !shared.offer(to, ownView.members, ageMs)) return;
    offeredView = ownView;
    offeredAtMs = nowMs;
  }

  const loop = new LookLoop({ clock, intervalMs: () => LOOK_INTERVAL_MS, look });
  return {
    name,
    start(take) {
      publish = take;
      return loop.start();
    },
    refresh: () => loop.lookNow(),
    async stop() {
      publish = undefined;
      // A look may be waiting for the first answer of the source, and may have begun to read just now.
      const noMoreLooks = loop.stop();
      await own?.stop();
      await noMoreLooks;
      await own?.stop();
    },
  };
}
