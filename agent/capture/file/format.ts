/** What the two capture formats share: how a parser is fed, how it says what is wrong, and its limits. */
import type { FrameSink } from '../source.ts';
import type { ErrorCode } from '../../../common/errors.ts';

/** The most bytes of one frame that a file may hold: the largest snap length of tcpdump and Wireshark. */
export const MAX_CAPTURED_BYTES = 262_144;
/**
 * The most bytes of any record that is read as a whole, as in libpcap: comments and secrets of a packet's block may be long.
 * Longer ones are skipped piece by piece, or refused.
 */
export const MAX_RECORD_BYTES = 16 * 1024 * 1024;

/**
 * A parser for one capture file. It is handed the bytes in order, in pieces cut anywhere, and keeps what it must
 * remember between them.
 */
export interface CaptureFormat {
  /** Frames delivered so far. */
  readonly packets: number;
  /**
   * Delivers every frame that is whole within `[start, end)` of the view.
   *
   * @param isEnd whether the file ends at `end`
   * @returns where the first record starts that is not whole yet: the next call begins with it
   * @throws CaptureFault when the bytes are wrong; all frames before have been delivered
   */
  parse(view: DataView, start: number, end: number, sink: FrameSink, isEnd: boolean): number;
  /**
   * To be called at the end of the file.
   *
   * @param length bytes left over, at `start` of the view
   * @throws CaptureFault when the file ends within a record
   */
  finish(view: DataView, start: number, length: number): void;
  /** Name of an interface, where the format knows names. */
  interfaceName(index: number): string | undefined;
}

/** What is wrong with a file's bytes; the reader of the file adds its name and turns positions into offsets. */
export class CaptureFault extends Error {
  readonly code: ErrorCode;
  /** Where in the view the faulty record starts. */
  readonly position: number;

  constructor(code: ErrorCode, message: string, position: number) {
    super(message);
    this.name = 'CaptureFault';
    this.code = code;
    this.position = position;
  }
}

/** Times outside the years 0 to 9999 cannot be written as RFC 3339: they become the nearest that can. */
const EARLIEST_SECONDS = -62_167_219_200;
const LATEST_SECONDS = 253_402_300_799;

/** The nearest second that has an RFC 3339 form. */
export function clampSeconds(seconds: number): number {
  if (seconds < EARLIEST_SECONDS) return EARLIEST_SECONDS;
  return seconds > LATEST_SECONDS ? LATEST_SECONDS : seconds;
}
