/** Reads packet sources to their end, for tests that look at every frame. */
import type { Frame, FrameSink, PacketSource } from '../../agent/capture/source.ts';

/** A frame as it was when the sink got it. */
export interface CapturedFrame {
  readonly seconds: number;
  readonly nanoseconds: number;
  readonly originalLength: number;
  readonly linkType: number;
  readonly interfaceIndex: number;
  /** The captured bytes in hex. */
  readonly hex: string;
}

export interface CapturedRun {
  readonly frames: CapturedFrame[];
  /** What `run` rejected with. */
  readonly error: unknown;
}

/** Every frame of a source, and the error that ended it. */
export async function collectFrames(source: PacketSource): Promise<CapturedRun> {
  const frames: CapturedFrame[] = [];
  const error = await readFrames(source, (frame) => frames.push(copyOf(frame)));
  return { frames, error };
}

/** Calls `take` for every frame of a source; resolves with the error that ended it, or undefined. */
export async function readFrames(source: PacketSource, take: (frame: Frame) => void): Promise<unknown> {
  const sink: FrameSink = { frame: take, counts: () => {}, blockEnd: () => {} };
  try {
    await source.run(sink);
    return undefined;
  } catch (error) {
    return error;
  }
}

function copyOf(frame: Frame): CapturedFrame {
  const { view, offset, capturedLength } = frame;
  return {
    seconds: frame.seconds,
    nanoseconds: frame.nanoseconds,
    originalLength: frame.originalLength,
    linkType: frame.linkType,
    interfaceIndex: frame.interfaceIndex,
    hex: Buffer.from(view.buffer, view.byteOffset + offset, capturedLength).toString('hex'),
  };
}
