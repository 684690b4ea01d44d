/**
 * The provider of a DNS name that stands for many hosts, such as a headless service: every address of it is a member.
 * It is asked again when the records' time to live has run out (RFC 1035, section 3.2.1).
 *
 * A name without an address may be a cluster without nodes or a server that lost its memory: the membership's guard
 * against half a list decides, for which the name is asked again soon. Servers that do not answer for one family of
 * addresses leave that family as it was.
 */
import { parseAddress } from '../../common/address.ts';
import type { Clock } from '../../common/clock.ts';
import { messageOf } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import { LookLoop } from './look-loop.ts';
import { OutageLog } from './outage-log.ts';
import type { GroupView, LookResult, Member, Provider } from './provider.ts';

/** For records that may not be kept at all. */
const MIN_INTERVAL_MS = 1000;
/** A cluster changes more often than an administrator's time to live of a day. */
const MAX_INTERVAL_MS = 60_000;
/** After no answer, or one without addresses. */
const RETRY_MS = 10_000;

const FAMILIES = ['ipv4', 'ipv6'] as const;
type Family = (typeof FAMILIES)[number];

/** An address of a name. */
export interface DnsRecord {
  readonly address: string;
  readonly ttlSeconds: number;
}

/**
 * What DNS says of a name: the records of each family, none where there are none, undefined where no server answered for
 * the family. A message of 64 KiB has room for about 4,000 addresses, so an answer is bounded by its form.
 */
export type DnsAnswer = Readonly<Record<Family, readonly DnsRecord[] | undefined>>;

/**
 * Asks for the addresses of a name: absolute with a dot at its end, else with the search list of this machine. Bounds its
 * time, and rejects when no server answered.
 */
export type LookUpRecords = (name: string) => Promise<DnsAnswer>;

interface DnsDependencies {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly lookUpRecords: LookUpRecords;
}

/** A provider of the addresses of one name. */
export function createDnsProvider(name: string, { clock, logger, lookUpRecords }: DnsDependencies): Provider {
  const source = `dns ${name}`;
  const outages = new OutageLog(logger, 'name without an address in DNS', 'name has addresses again');
  const known = new Map<Family, readonly Member[]>();
  let publish: ((view: GroupView) => void) | undefined;
  let hasAddresses = false;
  let answeredAtMs = clock.monotonic();
  let intervalMs = RETRY_MS;

  async function look(): Promise<LookResult> {
    const askedAtMs = clock.monotonic();
    const answer = await ask();
    const missing = FAMILIES.filter((family) => !takeFamily(family, answer?.[family]));
    const members = FAMILIES.flatMap((family) => known.get(family) ?? []);
    hasAddresses ||= members.length > 0;
    if (answer !== undefined && missing.length === 0 && hasAddresses) answeredAtMs = askedAtMs;
    publish?.({
      members,
      prefixes: [],
      asOfMs: answeredAtMs,
      ...(hasAddresses ? {} : { isPartial: true }),
    });
    // A name that never had an address may be a slip of the pen: nobody waits for it.
    return answer === undefined && hasAddresses ? 'failed' : 'answered';
  }

  async function ask(): Promise<DnsAnswer | undefined> {
    intervalMs = RETRY_MS;
    try {
      const answer = await lookUpRecords(name);
      const records = FAMILIES.flatMap((family) => answer[family] ?? []);
      if (records.length === 0) outages.failed(name, 'there is no such name, or it has no addresses');
      else {
        outages.succeeded(name);
        intervalMs = intervalOf(records);
      }
      return answer;
    } catch (error) {
      outages.failed(name, messageOf(error));
      return undefined;
    }
  }

  /** Returns whether nothing is missing: a family that had no addresses is not missed. */
  function takeFamily(family: Family, records: readonly DnsRecord[] | undefined): boolean {
    if (records === undefined) return (known.get(family) ?? []).length === 0;
    known.set(family, toMembers(records, source));
    return true;
  }

  const loop = new LookLoop({ clock, intervalMs: () => intervalMs, look });
  return {
    name: source,
    start(take) {
      publish = take;
      return loop.start();
    },
    refresh: () => loop.lookNow(),
    stop: () => loop.stop(),
  };
}

/** Until the first of the records may be kept no longer. */
function intervalOf(records: readonly DnsRecord[]): number {
  const shortestMs = Math.min(...records.map(({ ttlSeconds }) => ttlSeconds * 1000));
  return Math.min(MAX_INTERVAL_MS, Math.max(MIN_INTERVAL_MS, shortestMs));
}

/** In the order of the addresses: servers turn theirs round at every answer. */
function toMembers(records: readonly DnsRecord[], source: string): Member[] {
  const addresses = [...new Set(records.map(({ address }) => address))].toSorted();
  return addresses.flatMap((text) => {
    const address = parseAddress(text);
    return address === undefined ? [] : [{ id: text, addresses: [address], ports: new Map(), source }];
  });
}
