/**
 * The DNS servers of this machine, asked for addresses with their time to live. The system's resolver, which `hosts` in
 * the rules go through, does not tell it.
 */
import { readFile } from 'node:fs/promises';
import { Resolver } from 'node:dns/promises';
import type { DnsAnswer, DnsRecord, LookUpRecords } from '../agent/membership/dns.ts';

/** For each server and attempt. */
const TIMEOUT_MS = 2000;
const ATTEMPTS = 2;
/** As many as glibc takes (resolv.conf(5)). */
const MAX_DOTS = 15;
/** Kubernetes writes six at most; older resolvers take no more. */
const MAX_SEARCH_DOMAINS = 32;
/** After this time no further name of the list is asked for. */
const MAX_SEARCH_MS = 20_000;
/** The server says that there is no such name, or nothing of this type at it. */
const NOTHING_THERE: ReadonlySet<unknown> = new Set(['ENOTFOUND', 'ENODATA']);

interface DnsPlace {
  /** For tests: other servers than those of the system, as `address:port`. */
  readonly servers?: readonly string[];
  /** For tests: another file than /etc/resolv.conf. */
  readonly resolverFile?: string;
}

/** How names that are not absolute are completed (resolv.conf(5)). */
interface SearchList {
  readonly domains: readonly string[];
  /** A name with fewer dots is tried with the domains first. */
  readonly dots: number;
}

/** Asks the servers that /etc/resolv.conf names at the time of the question. */
export function dnsClient({ servers, resolverFile = '/etc/resolv.conf' }: DnsPlace = {}): LookUpRecords {
  return async (name) => {
    const search = parseSearchList(await readFile(resolverFile, 'utf8').catch(() => ''));
    // A new one for each question: it keeps answers, and servers that were configured meanwhile are not noticed.
    const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: ATTEMPTS });
    if (servers !== undefined) resolver.setServers(servers);
    const failures: Partial<Record<keyof DnsAnswer, unknown>> = {};
    const begunMs = performance.now();
    for (const candidate of candidatesOf(name, search)) {
      if (performance.now() - begunMs > MAX_SEARCH_MS) break;
      const answer = await askBoth(resolver, candidate, failures);
      // As the system does: a server that fails for one name of the list is asked for the next one.
      if ([answer.ipv4, answer.ipv6].some((records) => records !== undefined && records.length > 0))
        return answer;
    }
    const { ipv4, ipv6 } = failures;
    if (ipv4 !== undefined && ipv6 !== undefined) throw ipv4;
    return { ipv4: ipv4 === undefined ? [] : undefined, ipv6: ipv6 === undefined ? [] : undefined };
  };
}

/** `search` (or the older `domain`) and `options ndots:N`; of several lines the last one counts. */
function parseSearchList(text: string): SearchList {
  let domains: readonly string[] = [];
  let dots = 1;
  for (const line of text.split('\n')) {
    const [keyword, ...words] = line.trim().split(/\s+/);
    if (keyword === 'search' || keyword === 'domain') domains = words.slice(0, MAX_SEARCH_DOMAINS);
    const option = keyword === 'options' ? /\bndots:(\d{1,4})\b/.exec(line)?.[1] : undefined;
    if (option !== undefined) dots = Math.min(MAX_DOTS, Number(option));
  }
  return { domains, dots };
}

/** The absolute names that a name may stand for, in the order in which they are tried. */
function candidatesOf(name: string, { domains, dots }: SearchList): string[] {
  if (name.endsWith('.')) return [name];
  const completed = domains.map((domain) => (domain === '.' ? name : `${name}.${domain}`));
  return name.split('.').length > dots ? [name, ...completed] : [...completed, name];
}

/** Without the families for which the servers did not answer; why not is noted in `failures`. */
async function askBoth(
  resolver: Resolver,
  name: string,
  failures: Partial<Record<keyof DnsAnswer, unknown>>,
): Promise<DnsAnswer> {
  const [ipv4, ipv6] = await Promise.allSettled([
    recordsOf(resolver.resolve4(name, { ttl: true })),
    recordsOf(resolver.resolve6(name, { ttl: true })),
  ]);
  if (ipv4.status === 'rejected') failures.ipv4 ??= ipv4.reason;
  if (ipv6.status === 'rejected') failures.ipv6 ??= ipv6.reason;
  return {
    ipv4: ipv4.status === 'fulfilled' ? ipv4.value : undefined,
    ipv6: ipv6.status === 'fulfilled' ? ipv6.value : undefined,
  };
}

async function recordsOf(question: Promise<{ address: string; ttl: number }[]>): Promise<DnsRecord[]> {
  try {
    return (await question).map(({ address, ttl }) => ({ address, ttlSeconds: ttl }));
  } catch (error) {
    if (NOTHING_THERE.has((error as NodeJS.ErrnoException).code)) return [];
    throw error;
  }
}
