/**
 * A bridge or a container's veth pair shows a packet again: on another interface than the one that its side of a flow is
 * counted on. These are the same packets, seen again, and so never more than those. Where they are more, the others were
 * forged, or took another way: the interface that saw most is the one that counts.
 */
import {
  RECORD_WORDS,
  SIDE_A,
  SIDE_B,
  SIDE_BYTES,
  SIDE_INTERFACE,
  SIDE_PACKETS,
  SIDE_PAYLOAD_BYTES,
  SIDE_STREAM_BYTES,
  type FlowStore,
} from './flow-store.ts';

/** What a side has sent on an interface that it is not counted on. */
interface CountedElsewhere {
  interfaceIndex: number;
  packets: number;
  bytes: number;
  payload: number;
}

export class OtherInterfaces {
  readonly #store: FlowStore;
  /** By slot and end, as `FlowIndex.find` answers: of the sides that were seen on more than one interface. */
  readonly #counted = new Map<number, CountedElsewhere[]>();

  constructor(store: FlowStore) {
    this.#store = store;
  }

  /**
   * Counts packets of a side on another interface than its own, which it may take the place of.
   *
   * @param found as `FlowIndex.find` answers
   * @param bytes on the wire
   * @param payload bytes of TCP payload
   */
  count(found: number, interfaceIndex: number, packets: number, bytes: number, payload: number): void {
    const others = this.#counted.get(found) ?? [];
    if (others.length === 0) this.#counted.set(found, others);
    let other = others.find((one) => one.interfaceIndex === interfaceIndex);
    if (other === undefined) others.push((other = { interfaceIndex, packets: 0, bytes: 0, payload: 0 }));
    other.packets += packets;
    other.bytes += bytes;
    other.payload += payload;
    this.#takeOver(found, other);
  }

  /** To be called when a flow leaves the table. */
  forget(slot: number): void {
    if (this.#counted.size === 0) return;
    this.#counted.delete(slot * 2);
    this.#counted.delete(slot * 2 + 1);
  }

  /** Lets the other interface count where it saw more; what was counted before goes into its place. */
  #takeOver(found: number, other: CountedElsewhere): void {
    const { words, doubles } = this.#store;
    const side = (found >> 1) * RECORD_WORDS + ((found & 1) === 1 ? SIDE_B : SIDE_A);
    const totals = side / 2;
    const counted = {
      interfaceIndex: words[side + SIDE_INTERFACE] as number,
      packets: doubles[totals + SIDE_PACKETS] as number,
      bytes: doubles[totals + SIDE_BYTES] as number,
      payload: doubles[totals + SIDE_PAYLOAD_BYTES] as number,
    };
    const isMore =
      other.payload === counted.payload ? other.packets > counted.packets : other.payload > counted.payload;
    if (!isMore) return;
    words[side + SIDE_INTERFACE] = other.interfaceIndex;
    doubles[totals + SIDE_PACKETS] = other.packets;
    doubles[totals + SIDE_BYTES] = other.bytes;
    doubles[totals + SIDE_PAYLOAD_BYTES] = other.payload;
    (doubles[totals + SIDE_STREAM_BYTES] as number) += other.payload - counted.payload;
    Object.assign(other, counted);
  }
}
