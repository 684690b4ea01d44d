/**
 * Who is told of an incident: the receivers of the first route that matches it, and of the next ones as long as the routes
 * say `continue`. Below a route that matches, the same begins anew; its own receivers are told where none of those below it
 * matches. What no route matches is told to every receiver: an incident that nobody thought of must not be lost.
 */
import type { Incident } from '../store/store.ts';
import { compileMatchers, type Labels, type Subject } from './matchers.ts';
import type { RouteConfig } from './routing-config.ts';

/** Names of receivers, or undefined where no route matches. */
export type Routing = (subject: Subject) => ReadonlySet<string> | undefined;

/** The tree as a question; made once, because matchers are parsed. */
export function compileRoutes(routes: readonly RouteConfig[], labelsOf: (node: string) => Labels): Routing {
  const compiled = routes.map((route) => ({
    isMatching: compileMatchers(route.match ?? {}, { extent: 'any', labelsOf }),
    receivers: new Set(route.receivers),
    goesOn: route.continue,
    below: compileRoutes(route.routes ?? [], labelsOf),
  }));
  return (subject) => {
    let chosen: Set<string> | undefined;
    for (const { isMatching, receivers, goesOn, below } of compiled) {
      if (!isMatching(subject)) continue;
      chosen = new Set([...(chosen ?? []), ...(below(subject) ?? receivers)]);
      if (!goesOn) break;
    }
    return chosen;
  };
}

/** Of those whom an incident concerns at all, the ones that the routes choose. */
export function routed(
  routes: readonly RouteConfig[],
  labelsOf: (node: string) => Labels,
  audience: (incident: Incident) => readonly string[],
): (incident: Incident) => readonly string[] {
  const routing = compileRoutes(routes, labelsOf);
  return (incident) => {
    const chosen = routing(incident);
    return chosen === undefined ? audience(incident) : audience(incident).filter((name) => chosen.has(name));
  };
}
