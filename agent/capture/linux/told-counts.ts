/**
 * What was told of each entry of the kernel's flow table, by the entry's id: a hash table with open addressing (linear
 * probing) in one block of memory. Objects for 100,000 entries keep the garbage collector busy, a `Map` does as well.
 * Ids are given out one after the other, so their lower bits are as good as any hash.
 */

/** A bucket: the id plus 1, and what was told. */
const NUMBERS = 4;
const PACKETS = 1;
const BYTES = 2;
const PAYLOAD_BYTES = 3;
const FREE = 0;
/** Buckets to begin with; always a power of two. */
const FIRST_BUCKETS = 1024;

export class ToldCounts {
  #numbers = new Float64Array(FIRST_BUCKETS * NUMBERS);
  #mask = FIRST_BUCKETS - 1;
  #size = 0;
  /** What the last `update` was more than what was told before. */
  packets = 0;
  bytes = 0;
  payloadBytes = 0;

  /** Entries that something was told of. */
  get size(): number {
    return this.#size;
  }

  /** Takes the totals of an entry, and gives whether they are more than what was told before. */
  update(id: number, packets: number, bytes: number, payloadBytes: number): boolean {
    const at = this.#bucketOf(id) * NUMBERS;
    const numbers = this.#numbers;
    this.packets = packets - (numbers[at + PACKETS] as number);
    this.bytes = bytes - (numbers[at + BYTES] as number);
    this.payloadBytes = payloadBytes - (numbers[at + PAYLOAD_BYTES] as number);
    numbers[at + PACKETS] = packets;
    numbers[at + BYTES] = bytes;
    numbers[at + PAYLOAD_BYTES] = payloadBytes;
    if (numbers[at] === FREE) this.#take(at, id);
    // The processors add to the numbers one after the other: packets may be ahead of bytes for a moment.
    return this.packets !== 0 || this.bytes !== 0 || this.payloadBytes !== 0;
  }

  /** Forgets an entry that has left the table, and closes the gap so that no search ends at it. */
  forget(id: number): void {
    const numbers = this.#numbers;
    let hole = this.#bucketOf(id);
    if (numbers[hole * NUMBERS] === FREE) return;
    this.#size--;
    for (let next = (hole + 1) & this.#mask; ; next = (next + 1) & this.#mask) {
      const kept = numbers[next * NUMBERS] as number;
      if (kept === FREE) break;
      const distanceFromHome = (next - this.#homeOf(kept - 1)) & this.#mask;
      if (distanceFromHome < ((next - hole) & this.#mask)) continue;
      numbers.copyWithin(hole * NUMBERS, next * NUMBERS, (next + 1) * NUMBERS);
      hole = next;
    }
    numbers.fill(0, hole * NUMBERS, (hole + 1) * NUMBERS);
  }

  /** The bucket of this id, or the free one where it belongs. */
  #bucketOf(id: number): number {
    const numbers = this.#numbers;
    let bucket = this.#homeOf(id);
    for (;;) {
      const found = numbers[bucket * NUMBERS] as number;
      if (found === FREE || found === id + 1) return bucket;
      bucket = (bucket + 1) & this.#mask;
    }
  }

  #homeOf(id: number): number {
    // The lower 32 bits of a number that may be larger.
    return (id | 0) & this.#mask;
  }

  #take(at: number, id: number): void {
    this.#numbers[at] = id + 1;
    this.#size++;
    if (this.#size * 2 > this.#mask) this.#grow();
  }

  #grow(): void {
    const old = this.#numbers;
    this.#numbers = new Float64Array(old.length * 2);
    this.#mask = this.#numbers.length / NUMBERS - 1;
    for (let from = 0; from < old.length; from += NUMBERS) {
      const taken = old[from] as number;
      if (taken === FREE) continue;
      this.#numbers.set(old.subarray(from, from + NUMBERS), this.#bucketOf(taken - 1) * NUMBERS);
    }
  }
}
