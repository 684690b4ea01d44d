/** Flows as lines of JSON, for lists of many: bytes that are put together directly. */
import { formatAddress } from '../../common/address.ts';
import type { FlowState } from '../../common/event.ts';
import { formatTime } from '../../common/time.ts';
import { AsciiWriter, FixedText } from './ascii-writer.ts';
import { communityIdAt } from './community-id.ts';
import {
  ADDRESS_A,
  ADDRESS_B,
  B_IS_INITIATOR,
  ADDRESS_WORDS,
  FIRST_NANOSECONDS,
  FIRST_SECONDS,
  isIpv4At,
  LAST_NANOSECONDS,
  LAST_SECONDS,
  portAt,
  ROLES,
  SIDE_A,
  SIDE_B,
  SIDE_BYTES,
  SIDE_PACKETS,
  SIDE_PAYLOAD_BYTES,
  SIDE_STREAM_BYTES,
} from './flow-store.ts';
import type { Flow } from './flow.ts';
import { recordInterface, recordTunnel } from './record.ts';

/** Bytes that are handed out at a time: 50,000 lines written one by one take 200 ms, in pieces of this size 20 ms. */
const PIECE_BYTES = 64 * 1024;
/** No line is longer: the longest name of an interface takes 1,536 bytes, all else together less than 1,024. */
const LONGEST_LINE = 4096;

const INITIATOR = 0;
const RESPONDER = 1;

/** A value of a line, with the text before it. */
interface Part {
  readonly before: FixedText;
  readonly value: 'first' | 'last' | 'address' | 'port' | 'total' | 'family' | 'id' | 'state' | 'rest';
  /** `INITIATOR` or `RESPONDER`, where each has one. */
  readonly end: number;
  /** Of a total: its place among those of a side. */
  readonly field: number;
}

/** What a line is made of, in order. A loop over it is soon compiled; a call for each part was not, until the end. */
const LINE: readonly Part[] = [
  part('{"type":"flow","event":{"start":"', 'first'),
  part('Z","end":"', 'last'),
  part('Z"},"source":{"ip":"', 'address', INITIATOR),
  part('","port":', 'port', INITIATOR),
  part(',"packets":', 'total', INITIATOR, SIDE_PACKETS),
  part(',"bytes":', 'total', INITIATOR, SIDE_BYTES),
  part('},"destination":{"ip":"', 'address', RESPONDER),
  part('","port":', 'port', RESPONDER),
  part(',"packets":', 'total', RESPONDER, SIDE_PACKETS),
  part(',"bytes":', 'total', RESPONDER, SIDE_BYTES),
  part('},"network":{"transport":"tcp","type":"', 'family'),
  part('","community_id":"', 'id'),
  part('"},"plasmawatch":{"state":"', 'state'),
  part('","service":null,"payload":{"source":', 'total', INITIATOR, SIDE_PAYLOAD_BYTES),
  part(',"destination":', 'total', RESPONDER, SIDE_PAYLOAD_BYTES),
  part('},"stream":{"source":', 'total', INITIATOR, SIDE_STREAM_BYTES),
  part(',"destination":', 'total', RESPONDER, SIDE_STREAM_BYTES),
  part('}', 'rest'),
];
const IPV4 = new FixedText('ipv4');
const IPV6 = new FixedText('ipv6');
const STATES: Readonly<Record<FlowState, FixedText>> = {
  attempt: new FixedText('attempt'),
  refused: new FixedText('refused'),
  established: new FixedText('established'),
  midstream: new FixedText('midstream'),
  'half-closed': new FixedText('half-closed'),
  closed: new FixedText('closed'),
  reset: new FixedText('reset'),
};
const LINE_END = new FixedText('}}\n');

function part(before: string, value: Part['value'], end = INITIATOR, field = 0): Part {
  return { before: new FixedText(before), value, end, field };
}

/**
 * Gathers the same text as `JSON.stringify(flowRecord(flow, { interfaceName }))` and a line feed for each flow; a test
 * compares both.
 */
export class FlowLines {
  readonly #writer = new AsciiWriter(PIECE_BYTES + LONGEST_LINE);
  readonly #start = new SecondText();
  readonly #end = new SecondText();

  /** Whether there is enough for `take`; to be asked after each `add`. */
  get isFull(): boolean {
    return this.#writer.length >= PIECE_BYTES;
  }

  /** Adds a line for the flow as it stands. */
  add(flow: Flow<unknown>, interfaceName: string | undefined): void {
    const writer = this.#writer;
    const { store, record } = flow;
    const { words, doubles } = store;
    const initiator = (words[record + ROLES] as number) & B_IS_INITIATOR;
    for (const { before, value, end, field } of LINE) {
      writer.fixed(before);
      const isB = (end ^ initiator) === 1;
      switch (value) {
        case 'total':
          writer.number(doubles[((record + (isB ? SIDE_B : SIDE_A)) >> 1) + field] as number);
          break;
        case 'port':
          writer.number(portAt(words, record, isB));
          break;
        case 'address':
          writeAddress(writer, words, record + (isB ? ADDRESS_B : ADDRESS_A));
          break;
        case 'first':
          writer.fixed(this.#start.at(doubles[(record >> 1) + FIRST_SECONDS] as number));
          writer.nineDigits(words[record + FIRST_NANOSECONDS] as number);
          break;
        case 'last':
          writer.fixed(this.#end.at(doubles[(record >> 1) + LAST_SECONDS] as number));
          writer.nineDigits(words[record + LAST_NANOSECONDS] as number);
          break;
        case 'family':
          writer.fixed(isIpv4(words, record) ? IPV4 : IPV6);
          break;
        case 'id':
          writer.text(communityIdAt(words, record));
          break;
        case 'state':
          writer.fixed(STATES[flow.state]);
          break;
        default:
          writeRest(writer, flow, interfaceName);
      }
    }
    writer.fixed(LINE_END);
  }

  /** The lines since the last `take`; the caller may keep them. */
  take(): Uint8Array {
    return this.#writer.take();
  }
}

/** The text of a second up to its fraction. Most times are in the same second as the one before. */
class SecondText {
  #seconds = Number.NaN;
  #text = new FixedText('');

  at(seconds: number): FixedText {
    if (seconds !== this.#seconds) {
      this.#seconds = seconds;
      this.#text = new FixedText(formatTime(seconds, 0).slice(0, -'000000000Z'.length));
    }
    return this.#text;
  }
}

function isIpv4(words: Int32Array, record: number): boolean {
  return isIpv4At(words, record + ADDRESS_A) && isIpv4At(words, record + ADDRESS_B);
}

function writeAddress(writer: AsciiWriter, words: Int32Array, address: number): void {
  if (isIpv4At(words, address)) {
    writer.ipv4(words[address + ADDRESS_WORDS - 1] as number);
    return;
  }
  const [w0 = 0, w1 = 0, w2 = 0, w3 = 0] = words.subarray(address, address + ADDRESS_WORDS);
  writer.text(formatAddress({ w0, w1, w2, w3 }));
}

/** What few flows have. */
function writeRest(writer: AsciiWriter, flow: Flow<unknown>, interfaceName: string | undefined): void {
  if (interfaceName !== undefined) {
    writer.utf8(`,"interface":${JSON.stringify(recordInterface({ interfaceName }))}`);
  }
  const tunnel = recordTunnel(flow);
  if (tunnel !== undefined) writer.utf8(`,"tunnel":${JSON.stringify(tunnel)}`);
}
