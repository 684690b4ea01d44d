/** Which of two standings proves more: what an activity weighs, and what gives way first. */
import { STANDINGS, type Standing } from '../flow/standing.ts';

/** Its place among the standings: the higher, the more is proven. */
export function rankOf(standing: Standing): number {
  return STANDINGS.indexOf(standing);
}

export function isHigher(standing: Standing, other: Standing): boolean {
  return rankOf(standing) > rankOf(other);
}
