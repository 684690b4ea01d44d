/**
 * What was told of each entry of the kernel's flow table, by the entry's id. Numbers in one block of memory: objects
 * for 100,000 entries keep the garbage collector busy.
 */

const NUMBERS = 3;
/** The slots to begin with; they double when they are used up. */
const FIRST_SLOTS = 1024;

export class ToldCounts {
  #numbers = new Float64Array(FIRST_SLOTS * NUMBERS);
  readonly #slots = new Map<number, number>();
  readonly #freeSlots: number[] = [];
  /** What the last `update` was more than what was told before. */
  packets = 0;
  bytes = 0;
  payloadBytes = 0;

  /** Takes the totals of an entry, and gives whether they are more than what was told before. */
  update(id: number, packets: number, bytes: number, payloadBytes: number): boolean {
    const at = (this.#slots.get(id) ?? this.#add(id)) * NUMBERS;
    const numbers = this.#numbers;
    this.packets = packets - (numbers[at] ?? 0);
    this.bytes = bytes - (numbers[at + 1] ?? 0);
    this.payloadBytes = payloadBytes - (numbers[at + 2] ?? 0);
    numbers[at] = packets;
    numbers[at + 1] = bytes;
    numbers[at + 2] = payloadBytes;
    // The processors add to the numbers one after the other: packets may be ahead of bytes for a moment.
    return this.packets !== 0 || this.bytes !== 0 || this.payloadBytes !== 0;
  }

  /** Forgets an entry that has left the table. */
  forget(id: number): void {
    const slot = this.#slots.get(id);
    if (slot === undefined) return;
    this.#slots.delete(id);
    this.#freeSlots.push(slot);
  }

  #add(id: number): number {
    const slot = this.#freeSlots.pop() ?? this.#slots.size;
    this.#slots.set(id, slot);
    if ((slot + 1) * NUMBERS > this.#numbers.length) {
      const numbers = new Float64Array(this.#numbers.length * 2);
      numbers.set(this.#numbers);
      this.#numbers = numbers;
    }
    this.#numbers.fill(0, slot * NUMBERS, (slot + 1) * NUMBERS);
    return slot;
  }
}
