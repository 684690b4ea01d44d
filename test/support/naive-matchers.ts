/** Matchers by the words of the operators' page, with texts and lists and no thought for speed: an oracle. */
import { isIPv4 } from 'node:net';
import type { LabelledMatchers, Labels, Subject } from '../../collector/incident/matchers.ts';
import type { RouteConfig } from '../../collector/incident/routing-config.ts';

export function matchNaively(
  matchers: LabelledMatchers,
  { kind, breadth, severity, service, serviceCount, peer, peerCount, nodes, nodeCount }: Subject,
  { extent, labels }: { extent: 'all' | 'any'; labels: Readonly<Record<string, Labels>> },
): boolean {
  if (matchers.kind !== undefined) {
    const isAbout = matchers.kind.includes(kind);
    const scans = breadth === 'peer';
    const alsoScan = matchers.kind.includes('scan');
    if (extent === 'any' ? !isAbout && !(scans && alsoScan) : !isAbout || (scans && !alsoScan)) return false;
  }
  if (extent === 'all' && matchers.peer !== undefined && peerCount !== 1) return false;
  if (extent === 'all' && matchers.service !== undefined && serviceCount !== 1) return false;
  if (matchers.severity !== undefined && !matchers.severity.some((each) => each === severity)) return false;
  if (matchers.service !== undefined && !matchers.service.some((each) => each === service)) return false;
  if (matchers.peer !== undefined && !matchers.peer.some((range) => peer !== null && isInRange(peer, range)))
    return false;
  if (matchers.node === undefined && matchers.labels === undefined) return true;
  const matching = nodes.filter((node) => {
    const isNamed = matchers.node === undefined || matchers.node.some((pattern) => isLike(node, pattern));
    const given = labels[node] ?? {};
    const isLabelled = Object.entries(matchers.labels ?? {}).every(([key, value]) => given[key] === value);
    return isNamed && isLabelled;
  });
  return extent === 'any' ? matching.length > 0 : matching.length === nodeCount;
}

/** The receivers, or undefined where no route matches. */
export function routeNaively(
  routes: readonly RouteConfig[],
  subject: Subject,
  labels: Readonly<Record<string, Labels>>,
): string[] | undefined {
  const matching = routes.filter(({ match }) =>
    matchNaively(match ?? {}, subject, { extent: 'any', labels }),
  );
  const last = matching.findIndex((route) => !route.continue);
  const taken = last < 0 ? matching : matching.slice(0, last + 1);
  if (taken.length === 0) return undefined;
  const names = taken.flatMap(
    (route) => routeNaively(route.routes ?? [], subject, labels) ?? route.receivers,
  );
  return [...new Set(names)].toSorted();
}

/** `*` stands for any text. */
export function isLike(name: string, pattern: string): boolean {
  const escaped = pattern.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`).replaceAll(String.raw`\*`, '.*');
  return new RegExp(`^${escaped}$`).test(name);
}

/** IPv4 only, bit by bit. */
function isInRange(address: string, range: string): boolean {
  const [base = '', length = '32'] = range.split('/');
  if (!isIPv4(address)) return false;
  return bitsOf(address).slice(0, Number(length)) === bitsOf(base).slice(0, Number(length));
}

function bitsOf(address: string): string {
  return address
    .split('.')
    .map((part) => Number(part).toString(2).padStart(8, '0'))
    .join('');
}
