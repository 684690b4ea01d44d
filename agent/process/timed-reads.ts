/**
 * Reads that another process can delay for as long as it likes: it chooses what backs its memory, from which the kernel
 * takes a command line, and what is mounted where its files are (FUSE, userfaultfd, a network disk that is away). The
 * thread that reads there cannot be called back, and Node has four of them for all files.
 *
 * So only a few such reads run at a time. While all of them are overdue, further ones are refused at once.
 */

/** A read of /proc takes a tenth of a millisecond; this process itself may be busy meanwhile. */
const LIMIT_MS = 2000;

/** That a read did not end in time, or was not begun because others did not. Nothing is known of what it would have read. */
export const OVERDUE = Symbol('overdue');

export class TimedReads {
  readonly #maxRunning: number;
  readonly #limitMs: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;
  #overdueNow = 0;
  #overdue = 0;

  /** @param maxRunning reads at a time, which is how many threads can be lost */
  constructor(maxRunning: number, limitMs = LIMIT_MS) {
    this.#maxRunning = maxRunning;
    this.#limitMs = limitMs;
  }

  /** Reads that did not end in time or were refused, since the start. */
  get overdue(): number {
    return this.#overdue;
  }

  /** Threads that wait in a read that is overdue. */
  get lost(): number {
    return this.#overdueNow;
  }

  /** What `read` answers, or `OVERDUE` after the limit of time; then its answer is dropped when it comes. */
  async run<T>(read: () => Promise<T>): Promise<T | typeof OVERDUE> {
    while (this.#running >= this.#maxRunning) {
      if (this.#overdueNow >= this.#maxRunning) {
        this.#overdue++;
        return OVERDUE;
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#running++;
    return this.#race(read);
  }

  #race<T>(read: () => Promise<T>): Promise<T | typeof OVERDUE> {
    return new Promise((resolve, reject) => {
      let isLate = false;
      let isDone = false;
      const giveUp = (): void => {
        if (isDone) return;
        isLate = true;
        this.#overdueNow++;
        this.#overdue++;
        this.#wake();
        resolve(OVERDUE);
      };
      // What was read while this process was busy is taken first: its answer is there before the next `setImmediate`.
      const timer = setTimeout(() => setImmediate(giveUp), this.#limitMs);
      const end = (): void => {
        isDone = true;
        clearTimeout(timer);
        this.#running--;
        if (isLate) this.#overdueNow--;
        this.#wake();
      };
      read().then(
        (value) => {
          end();
          resolve(value);
        },
        (error: unknown) => {
          end();
          reject(error instanceof Error ? error : new Error(String(error)));
        },
      );
    });
  }

  /** Those that wait look again: there is room, or there will be none. */
  #wake(): void {
    for (const resume of this.#waiting.splice(0)) resume();
  }
}

/** What any process can delay. Its threads are those of this process, so there is one limit for all who read. */
export const processReads = new TimedReads(2);
/** What only processes of users that are trusted with a raylet can delay, so that others do not hide the raylet. */
export const trustedReads = new TimedReads(1);

/** Threads that may never come back: a process that has any cannot exit in an orderly way, for Node waits for them. */
export function lostThreads(): number {
  return processReads.lost + trustedReads.lost;
}
