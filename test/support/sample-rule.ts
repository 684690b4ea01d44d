/** Rules as `loadRules` makes them. */
import type { Rule } from '../../rules/match.ts';

/** One that always holds; without changes: the nodes of the cluster exchange objects. */
export function sampleRule(changes: Partial<Rule> = {}): Rule {
  return {
    name: 'nodes exchange objects',
    from: ['cluster'],
    to: ['object-manager'],
    hours: undefined,
    hoursText: undefined,
    untilMs: Infinity,
    mode: 'alert',
    owner: undefined,
    reason: undefined,
    file: 'rules.yaml',
    line: 1,
    ...changes,
  };
}
