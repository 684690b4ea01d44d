/** Counts of packets that are part of no TCP flow, by reason. */
import { DECODE_OUTCOMES, type DecodeOutcome, type Packet } from './packet.ts';

/** Link types that are counted apart; a pcapng file may claim 65,536 of them. */
const MAX_LINK_TYPES = 16;

export class SkippedPackets {
  readonly #outcomes = new Map<DecodeOutcome, number>();
  readonly #linkTypes = new Map<number, number>();

  /** Takes a packet and what `decode` said of it. */
  count(outcome: DecodeOutcome, { linkType }: Packet): void {
    if (outcome === 'unsupported-link-type') {
      const known = this.#linkTypes.get(linkType);
      if (known !== undefined || this.#linkTypes.size < MAX_LINK_TYPES) {
        this.#linkTypes.set(linkType, (known ?? 0) + 1);
        return;
      }
    }
    this.#outcomes.set(outcome, (this.#outcomes.get(outcome) ?? 0) + 1);
  }

  /** Packets that may have been part of a flow and could not be read. */
  get undecodable(): number {
    const outcomes = ['truncated', 'malformed', 'too-many-headers', 'unsupported-link-type'] as const;
    let sum = 0;
    for (const outcome of outcomes) sum += this.#outcomes.get(outcome) ?? 0;
    for (const count of this.#linkTypes.values()) sum += count;
    return sum;
  }

  /**
   * Packets by reason: the outcome's name, and `unsupported link type N` by the number of the link type
   * (https://www.tcpdump.org/linktypes.html).
   */
  reasons(): Record<string, number> {
    const reasons: Record<string, number> = {};
    for (const outcome of DECODE_OUTCOMES) {
      const count = this.#outcomes.get(outcome);
      if (count !== undefined) reasons[outcome] = count;
    }
    for (const [linkType, count] of this.#linkTypes) reasons[`unsupported link type ${linkType}`] = count;
    return reasons;
  }
}
