import { describe, expect, it } from 'vitest';
import { openCaptureFile } from '../../../../agent/capture/file/open.ts';
import { PlasmawatchError } from '../../../../common/errors.ts';
import { corpusEntries, corpusPath } from '../../../support/corpus.ts';
import { readFrames } from '../../../support/frames.ts';

/** Files of which we say something else than tshark, and why. */
const EXCEPTIONS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  // Microseconds of 2^31 and more: tshark's nanoseconds overflow, ours are carried over into the seconds.
  'files/tcpdump/timestamp_invalid_micro.pcap': { last: '1418147517.483648000' },
  'files/pcpp/fuzz-5188876846235648.pcap': {
    first: '3556769836.151491000',
    last: '3556769836.151491000',
  },
  // The year 584554, which has no RFC 3339 form.
  'files/pcpp/pcapng-example.pcapng': { last: '253402300799.277451000' },
  // Version 2.3, whose lengths may stand the other way round: read as tcpdump does.
  'files/pcpp/fuzz-5766899836387328.pcap': {
    packets: 1,
    capturedBytes: 4,
    originalBytes: 538976288,
    first: '538976826.976288000',
    last: '538976826.976288000',
    hasFault: false,
  },
  // A mad second record: tshark guesses at another layout of it, tcpdump and we do not.
  'files/suricata/bug-6875-01.pcap': {
    packets: 1,
    capturedBytes: 188,
    originalBytes: 188,
    last: '1508525002.992213000',
  },
};

const entries = corpusEntries();

describe.skipIf(entries.length === 0)('captures by others (skipped without ../shared/corpus)', () => {
  it.each(entries)('reads the packets, bytes and times of $path', async (entry) => {
    const seen = { packets: 0, capturedBytes: 0, originalBytes: 0, first: '', last: '' };
    const error = await readFrames(openCaptureFile(corpusPath(entry)), (frame) => {
      const time = `${frame.seconds}.${String(frame.nanoseconds).padStart(9, '0')}`;
      if (seen.packets === 0) seen.first = time;
      seen.last = time;
      seen.packets++;
      seen.capturedBytes += frame.capturedLength;
      seen.originalBytes += frame.originalLength;
    });
    const { packets, captured_bytes, original_bytes, first, last, tshark } = entry.expect;
    // Simple packet blocks have no time: ours is the epoch.
    const noTime = packets === 0 ? '' : '0.000000000';
    expect({ ...seen, hasFault: error instanceof PlasmawatchError }).toEqual({
      packets,
      capturedBytes: captured_bytes,
      originalBytes: original_bytes,
      first: first ?? noTime,
      last: last ?? noTime,
      hasFault: tshark.exit !== 0,
      ...EXCEPTIONS[entry.path],
    });
  });
});
