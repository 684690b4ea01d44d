/** What libpcap.ts and its child say to each other: requests and answers over the channel, packets through a pipe. */

/** The child's descriptor of the pipe. */
export const DATA_FD = 4;
/** In front of each packet's first bytes: numbers of 32 bits, little-endian. */
export const RECORD = { length: 16, captured: 0, original: 4, seconds: 8, nanoseconds: 12 } as const;

/** From the parent. At the word, or where the channel ends, the child sends its last packets and ends. */
export type Request = OpenRequest | 'stop';

/** Opens the device, or replaces the filter. */
export interface OpenRequest {
  readonly device: string;
  /** In libpcap's language. */
  readonly filter: string;
}

/** From the child, for each of them. */
export type OpenAnswer =
  { readonly linkType: string } | { readonly error: string; readonly isPackageMissing: boolean };
