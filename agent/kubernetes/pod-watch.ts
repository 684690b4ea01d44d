/**
 * The pods of a namespace that carry certain labels, kept current by a list and a watch (Kubernetes API concepts,
 * "Efficient detection of changes"): a list in pages, then the changes since its resource version. A watch that ends is
 * taken up where it was; only a version that the server has forgotten (410) needs a new list, and what a list leaves
 * out is gone.
 *
 * Every way back waits, longer with each failure and each agent differently, so that an API server that restarts does
 * not meet all agents at once. Credentials are read again each time.
 *
 * The client library's own watch comes back without a wait, asks for no bookmarks and reads lists without a bound.
 */
import { z } from 'zod';
import type { Clock } from '../../common/clock.ts';
import { messageOf } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import { readText } from '../../common/read-text.ts';
import { BackOff } from '../uplink/back-off.ts';
import { readLines, type KubernetesApi, type OpenKubernetesApi } from './api.ts';
import { podSchema, type Pod } from './pod.ts';

const PAGE_PODS = 250;
const MAX_PAGE_BYTES = 64 * 1024 * 1024;
/** An object of etcd has 1.5 MiB at most. */
const MAX_EVENT_BYTES = 4 * 1024 * 1024;
const MAX_PODS = 20_000;
/** The server ends a watch after this, and the next one begins with fresh credentials. */
const WATCH_SECONDS = 300;
/** Bookmarks come about once a minute; a connection that is silent for longer may be dead. */
export const SILENCE_LIMIT_MS = 150_000;
const REQUEST_LIMIT_MS = 30_000;
/** A watch that held this long was a good one. */
const STABLE_MS = 30_000;
const MAX_RETRY_AFTER_MS = 60_000;

const listSchema = z.object({
  metadata: z.object({ resourceVersion: z.string().max(512), continue: z.string().max(65_536).optional() }),
  items: z.array(z.unknown()).max(100_000),
});
const eventSchema = z.object({ type: z.string().max(64), object: z.unknown() });
const bookmarkSchema = z.object({ metadata: z.object({ resourceVersion: z.string().max(512) }) });
const statusSchema = z.object({ code: z.number().optional(), reason: z.string().max(256).optional() });

export interface PodWatchOptions {
  readonly open: OpenKubernetesApi;
  /** That of our own pod when undefined. */
  readonly namespace: string | undefined;
  /** `ray.io/cluster=a,ray.io/is-ray-node=yes`. */
  readonly selector: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Numbers from 0 up to 1. */
  readonly random: () => number;
  /** Called when pods were added, changed or removed, and when the server confirmed that nothing has. */
  readonly changed: () => void;
}

/** A request that failed, with what follows from it. */
class RequestFailure extends Error {
  readonly status: number;
  readonly retryAfterMs: number;

  constructor(status: number, what: string, retryAfterMs = 0) {
    super(`${what}: ${explainStatus(status)}`);
    this.status = status;
    this.retryAfterMs = Math.min(retryAfterMs, MAX_RETRY_AFTER_MS);
  }
}

export class PodWatch {
  /** Totals since the start. */
  readonly counters = { lists: 0, watches: 0, failures: 0, refusedPods: 0 };
  readonly #options: PodWatchOptions;
  readonly #backOff: BackOff;
  readonly #abort = new AbortController();
  /** By uid. */
  #pods = new Map<string, Pod>();
  /** Up to where we know; undefined where a list is needed. */
  #resourceVersion: string | undefined;
  #heardAtMs: number | undefined;
  #isWatching = false;
  #logged: string | undefined;
  #running: Promise<void> = Promise.resolve();
  #endWait: () => void = () => {};

  constructor(options: PodWatchOptions) {
    this.#options = options;
    this.#backOff = new BackOff(options.random);
  }

  /** Begins, and resolves after the first list, or after the first attempt at it has failed. */
  start(): Promise<void> {
    return new Promise((resolve) => {
      this.#running = this.#run(resolve);
    });
  }

  /** Resolves when nothing runs any more. */
  async stop(): Promise<void> {
    this.#abort.abort();
    this.#endWait();
    await this.#running;
  }

  /** The pods as they stand, those that have ended included. */
  get pods(): Iterable<Pod> {
    return this.#pods.values();
  }

  /** When the server last said how things stand, in ms since the epoch; undefined before the first list. */
  get heardAtMs(): number | undefined {
    return this.#heardAtMs;
  }

  /** Whether changes arrive at the moment. */
  get isWatching(): boolean {
    return this.#isWatching;
  }

  async #run(firstRoundDone: () => void): Promise<void> {
    const { clock } = this.#options;
    while (!this.#abort.signal.aborted) {
      const startedAtMs = clock.monotonic();
      let delayMs: number;
      try {
        await this.#round(firstRoundDone);
        if (clock.monotonic() - startedAtMs >= STABLE_MS) this.#backOff.reset();
        delayMs = this.#backOff.nextDelayMs();
      } catch (error) {
        if (clock.monotonic() - startedAtMs >= STABLE_MS) this.#backOff.reset();
        delayMs = this.#fail(error);
      }
      this.#isWatching = false;
      firstRoundDone();
      await this.#wait(delayMs);
    }
  }

  /** A list where one is needed, then a watch until it ends. */
  async #round(listed: () => void): Promise<void> {
    const api = await this.#options.open();
    if (this.#resourceVersion === undefined) await this.#list(api);
    listed();
    await this.#watch(api, this.#resourceVersion ?? '');
  }

  /** Notes a failure, and answers how long to wait after it. */
  #fail(error: unknown): number {
    const { logger } = this.#options;
    if (this.#abort.signal.aborted) return 0;
    this.counters.failures++;
    const status = error instanceof RequestFailure ? error.status : undefined;
    const reason = messageOf(error);
    // A version that is gone is the ordinary course of things after a long absence.
    if (status === 410) {
      this.#resourceVersion = undefined;
      return this.#backOff.nextDelayMs();
    }
    // One line for each kind of fault in an outage.
    if (this.#logged !== reason) {
      logger.warn(
        { code: 'PW_KUBERNETES', reason },
        'Kubernetes does not tell the pods: they stay as last known',
      );
      this.#logged = reason;
    }
    // What is refused now is refused in a second too; a rotated token is read with the next attempt.
    if (status === 403 || status === 404) return this.#backOff.slowDelayMs();
    return Math.max(this.#backOff.nextDelayMs(), error instanceof RequestFailure ? error.retryAfterMs : 0);
  }

  async #list(api: KubernetesApi): Promise<void> {
    const pods = new Map<string, Pod>();
    let position: string | undefined;
    let resourceVersion: string;
    do {
      const query = { limit: String(PAGE_PODS), ...(position === undefined ? {} : { continue: position }) };
      const text = await this.#within(REQUEST_LIMIT_MS, async (signal) => {
        const response = await api.get(this.#path(api, query), signal);
        if (response.status !== 200) throw failureOf(response, 'list of pods');
        return readText(response.body, MAX_PAGE_BYTES);
      });
      const page = listSchema.parse(JSON.parse(text));
      for (const item of page.items) this.#take(pods, item);
      resourceVersion = page.metadata.resourceVersion;
      position = page.metadata.continue === '' ? undefined : page.metadata.continue;
    } while (position !== undefined);
    this.counters.lists++;
    this.#pods = pods;
    this.#resourceVersion = resourceVersion;
    this.#heard();
  }

  async #watch(api: KubernetesApi, resourceVersion: string): Promise<void> {
    const query = {
      watch: 'true',
      allowWatchBookmarks: 'true',
      resourceVersion,
      timeoutSeconds: String(WATCH_SECONDS),
    };
    await this.#within(SILENCE_LIMIT_MS, async (signal, stillAlive) => {
      const response = await api.get(this.#path(api, query), signal);
      if (response.status !== 200) throw failureOf(response, 'watch of pods');
      this.counters.watches++;
      this.#isWatching = true;
      if (this.#logged !== undefined)
        this.#options.logger.info({ server: api.server }, 'Kubernetes tells the pods again');
      this.#logged = undefined;
      this.#heard();
      for await (const line of readLines(response.body, MAX_EVENT_BYTES)) {
        stillAlive();
        this.#takeEvent(line);
      }
    });
  }

  #takeEvent(line: string): void {
    const { type, object } = eventSchema.parse(JSON.parse(line));
    if (type === 'ERROR') {
      const { code } = statusSchema.parse(object);
      throw new RequestFailure(code ?? 500, 'watch of pods');
    }
    // Every event, of whatever type, says up to where we know now.
    this.#resourceVersion = bookmarkSchema.parse(object).metadata.resourceVersion;
    if (type === 'DELETED') {
      const pod = podSchema.safeParse(object);
      if (pod.success) this.#pods.delete(pod.data.metadata.uid);
    } else if (type !== 'BOOKMARK') {
      this.#take(this.#pods, object);
    }
    this.#heard();
  }

  #take(pods: Map<string, Pod>, value: unknown): void {
    const parsed = podSchema.safeParse(value);
    const isFull = parsed.success && pods.size >= MAX_PODS && !pods.has(parsed.data.metadata.uid);
    if (parsed.success && !isFull) {
      pods.set(parsed.data.metadata.uid, parsed.data);
      return;
    }
    if (this.counters.refusedPods++ === 0) {
      const why = isFull ? `there are more than ${MAX_PODS}` : 'it has not the form of a pod';
      this.#options.logger.warn({ code: 'PW_KUBERNETES' }, `a pod is left out: ${why}`);
    }
  }

  #heard(): void {
    this.#heardAtMs = this.#options.clock.monotonic();
    this.#options.changed();
  }

  #path(api: KubernetesApi, query: Readonly<Record<string, string>>): string {
    const namespace = encodeURIComponent(this.#options.namespace ?? api.namespace);
    const parameters = new URLSearchParams({ labelSelector: this.#options.selector, ...query });
    return `/api/v1/namespaces/${namespace}/pods?${parameters.toString()}`;
  }

  /** Runs work that is cut off when we stop, and when it gave no sign of life for so long. */
  async #within<Result>(
    limitMs: number,
    work: (signal: AbortSignal, stillAlive: () => void) => Promise<Result>,
  ): Promise<Result> {
    const { clock } = this.#options;
    const silence = new AbortController();
    const arm = () => clock.after(limitMs, () => silence.abort(new Error(`silent for ${limitMs / 1000} s`)));
    let timer = arm();
    try {
      return await work(AbortSignal.any([this.#abort.signal, silence.signal]), () => {
        timer.cancel();
        timer = arm();
      });
    } finally {
      timer.cancel();
    }
  }

  async #wait(delayMs: number): Promise<void> {
    if (this.#abort.signal.aborted) return;
    await new Promise<void>((resolve) => {
      const timer = this.#options.clock.after(delayMs, resolve);
      this.#endWait = () => {
        timer.cancel();
        resolve();
      };
    });
  }
}

function failureOf(
  { status, retryAfterMs }: { status: number; retryAfterMs: number | undefined },
  what: string,
) {
  return new RequestFailure(status, what, retryAfterMs);
}

function explainStatus(status: number): string {
  if (status === 401) return 'the credentials are refused (HTTP 401)';
  if (status === 403)
    return 'the service account may not do that (HTTP 403): it needs get, list and watch of pods, see deploy/kubernetes';
  return `HTTP status ${status}`;
}
