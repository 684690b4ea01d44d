/** The verdict by the words of the design, with lists and no thought for speed: an oracle for `Ruleset.judge`. */
import type { Verdict } from '../../common/event.ts';
import type { Connection, MembershipView, Rule } from '../../rules/match.ts';

export function judgeNaively(
  rules: readonly Rule[],
  connection: Connection,
  membership: MembershipView,
): Verdict {
  const { source, destination, services, timeMs } = connection;
  const isMember = membership.inGroup('cluster', destination, timeMs);
  const fromSource = isMember
    ? rules.filter((rule) => rule.from.some((group) => membership.inGroup(group, source, timeMs)))
    : [];
  const matching = fromSource.filter((rule) => rule.to.some((service) => services.includes(service)));
  const alive = matching.filter((rule) => timeMs < rule.untilMs);
  const allowing = alive.find((rule) => rule.hours === undefined || rule.hours(timeMs));
  if (allowing !== undefined) return { allowed: true, rule: allowing.name, reason: 'allowed' };
  const expired = matching.find((rule) => !alive.includes(rule));
  if (expired !== undefined) return { allowed: false, rule: expired.name, reason: 'expired' };
  if (alive[0] !== undefined) return { allowed: false, rule: alive[0].name, reason: 'outside-hours' };
  const hasUnapproved = [source, destination].some((address) => membership.isUnapproved(address, timeMs));
  if (hasUnapproved) return { allowed: false, rule: null, reason: 'not-approved' };
  const hasFormer = [source, destination].some((address) => membership.isFormerMember(address, timeMs));
  if (hasFormer) return { allowed: false, rule: null, reason: 'former-member' };
  return { allowed: false, rule: null, reason: fromSource.length > 0 ? 'wrong-service' : 'no-rule' };
}
