/**
 * The flows of which user space wants packets that the kernel would keep: a map that the flow program asks. An entry
 * goes when its packets have come up, when nobody wants them any more, or when there are too many: then the oldest.
 */
import type { FlowEndpoints } from '../source.ts';
import type { BpfMap, MapShape } from './bpf-maps.ts';
import { BPF_MAP_TYPE_HASH, HOST_IS_LITTLE_ENDIAN } from './constants.ts';
import { copyKey, FLOW_KEY, WANTED, writeEndpoints } from './flow-layout.ts';

const MAX_WANTED = 1024;
const NO_LIMIT = 0xffff_ffff;

export const WANTED_MAP: MapShape = {
  type: BPF_MAP_TYPE_HASH,
  keySize: FLOW_KEY.size,
  valueSize: WANTED.size,
  maxEntries: MAX_WANTED,
};

export class WantedFlows {
  readonly #map: BpfMap;
  /** The keys in the map by their bytes as text, the oldest first. */
  readonly #keys = new Map<string, DataView>();

  /** @param map of the shape WANTED_MAP; stays the caller's */
  constructor(map: BpfMap) {
    this.#map = map;
  }

  /** How many flows the program has to ask for. */
  get size(): number {
    return this.#keys.size;
  }

  /** Lets the next `packets` of a direction come up; 0: none. */
  want(flow: FlowEndpoints, packets: number): void {
    const key = new DataView(new ArrayBuffer(FLOW_KEY.size));
    writeEndpoints(key, flow);
    this.#forget(key);
    if (packets <= 0) return;
    const [oldest] = this.#keys.values();
    if (oldest !== undefined && this.#keys.size >= MAX_WANTED) this.#forget(oldest);
    this.#keys.set(nameOf(key), key);
    copyKey(this.#map.key, key, 0);
    this.#map.value.setUint32(WANTED.limit, Math.min(packets, NO_LIMIT), HOST_IS_LITTLE_ENDIAN);
    this.#map.value.setUint32(WANTED.handedUp, 0, HOST_IS_LITTLE_ENDIAN);
    this.#map.update();
  }

  /** Takes out what has come up. */
  sweep(): void {
    const { key, value } = this.#map;
    for (const wanted of this.#keys.values()) {
      copyKey(key, wanted, 0);
      if (!this.#map.lookUp()) continue;
      const limit = value.getUint32(WANTED.limit, HOST_IS_LITTLE_ENDIAN);
      if (value.getUint32(WANTED.handedUp, HOST_IS_LITTLE_ENDIAN) >= limit) this.#forget(wanted);
    }
  }

  #forget(key: DataView): void {
    if (!this.#keys.delete(nameOf(key))) return;
    copyKey(this.#map.key, key, 0);
    this.#map.take();
  }
}

function nameOf(key: DataView): string {
  return Buffer.from(key.buffer, key.byteOffset, FLOW_KEY.size).toString('latin1');
}
