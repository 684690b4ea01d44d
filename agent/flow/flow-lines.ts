/** Flows as lines of JSON, for lists of many: bytes that are put together directly. */
import { formatAddress } from '../../common/address.ts';
import { formatTime } from '../../common/time.ts';
import { AsciiWriter, FixedText } from './ascii-writer.ts';
import { communityIdAt } from './community-id.ts';
import {
  ADDRESS_A,
  ADDRESS_B,
  ADDRESS_WORDS,
  FIRST_NANOSECONDS,
  FIRST_SECONDS,
  IS_B_INITIATOR,
  isIpv4At,
  LAST_NANOSECONDS,
  LAST_SECONDS,
  portAt,
  SIDE_A,
  SIDE_B,
  SIDE_BYTES,
  SIDE_PACKETS,
  SIDE_PAYLOAD_BYTES,
  SIDE_STREAM_BYTES,
  type FlowStore,
} from './flow-store.ts';
import type { Flow } from './flow.ts';
import { recordInterface, recordTunnel } from './record.ts';

/** Bytes that are handed out at a time: 50,000 lines written one by one take 200 ms, in pieces of this size 20 ms. */
const PIECE_BYTES = 64 * 1024;
/** No line is longer: the longest name of an interface takes 1,536 bytes, all else together less than 1,024. */
const LONGEST_LINE = 4096;

/** What stands between the values. */
const START = new FixedText('{"type":"flow","event":{"start":"');
const END = new FixedText('Z","end":"');
const SOURCE = new FixedText('Z"},"source":{"ip":"');
const DESTINATION = new FixedText('},"destination":{"ip":"');
const NETWORK_IPV4 = new FixedText('},"network":{"transport":"tcp","type":"ipv4","community_id":"');
const NETWORK_IPV6 = new FixedText('},"network":{"transport":"tcp","type":"ipv6","community_id":"');
const STATE = new FixedText('"},"plasmawatch":{"state":"');
const PAYLOAD_SOURCE = new FixedText('","service":null,"payload":{"source":');
const OF_DESTINATION = new FixedText(',"destination":');
const STREAM_SOURCE = new FixedText('},"stream":{"source":');
const PORT = new FixedText('","port":');
const PACKETS = new FixedText(',"packets":');
const BYTES = new FixedText(',"bytes":');
const OBJECT_END = new FixedText('}');
const LINE_END = new FixedText('}}\n');
const DOT = new FixedText('.');

const NANOSECOND_DIGITS = 9;

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
    const isB = words[record + IS_B_INITIATOR] === 1;
    const totals = (record + (isB ? SIDE_B : SIDE_A)) / 2;
    const otherTotals = (record + (isB ? SIDE_A : SIDE_B)) / 2;
    const isIpv4 = isIpv4At(words, record + ADDRESS_A) && isIpv4At(words, record + ADDRESS_B);

    writer.fixed(START);
    writer.fixed(this.#start.at(doubles[record / 2 + FIRST_SECONDS] as number));
    writer.digits(words[record + FIRST_NANOSECONDS] as number, NANOSECOND_DIGITS);
    writer.fixed(END);
    writer.fixed(this.#end.at(doubles[record / 2 + LAST_SECONDS] as number));
    writer.digits(words[record + LAST_NANOSECONDS] as number, NANOSECOND_DIGITS);
    writer.fixed(SOURCE);
    writeSide(writer, store, record, isB);
    writer.fixed(DESTINATION);
    writeSide(writer, store, record, !isB);
    writer.fixed(isIpv4 ? NETWORK_IPV4 : NETWORK_IPV6);
    writer.text(communityIdAt(words, record));
    writer.fixed(STATE);
    writer.text(flow.state);
    writer.fixed(PAYLOAD_SOURCE);
    writer.number(doubles[totals + SIDE_PAYLOAD_BYTES] as number);
    writer.fixed(OF_DESTINATION);
    writer.number(doubles[otherTotals + SIDE_PAYLOAD_BYTES] as number);
    writer.fixed(STREAM_SOURCE);
    writer.number(doubles[totals + SIDE_STREAM_BYTES] as number);
    writer.fixed(OF_DESTINATION);
    writer.number(doubles[otherTotals + SIDE_STREAM_BYTES] as number);
    writer.fixed(OBJECT_END);
    const rest = restOf(flow, interfaceName);
    if (rest !== '') writer.utf8(rest);
    writer.fixed(LINE_END);
  }

  /** The lines since the last `take`; the caller may keep them. */
  take(): Uint8Array {
    return this.#writer.take();
  }
}

/** What few flows have. */
function restOf(flow: Flow<unknown>, interfaceName: string | undefined): string {
  const name = recordInterface({ interfaceName });
  const tunnel = recordTunnel(flow);
  return (
    (name === undefined ? '' : `,"interface":${JSON.stringify(name)}`) +
    (tunnel === undefined ? '' : `,"tunnel":${JSON.stringify(tunnel)}`)
  );
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

/** The address, the port and the counts of an end. */
function writeSide(writer: AsciiWriter, { words, doubles }: FlowStore, record: number, isB: boolean): void {
  writeAddress(writer, words, record + (isB ? ADDRESS_B : ADDRESS_A));
  writer.fixed(PORT);
  writer.number(portAt(words, record, isB));
  const totals = (record + (isB ? SIDE_B : SIDE_A)) / 2;
  writer.fixed(PACKETS);
  writer.number(doubles[totals + SIDE_PACKETS] as number);
  writer.fixed(BYTES);
  writer.number(doubles[totals + SIDE_BYTES] as number);
}

function writeAddress(writer: AsciiWriter, words: Int32Array, address: number): void {
  if (!isIpv4At(words, address)) {
    const [w0 = 0, w1 = 0, w2 = 0, w3 = 0] = words.subarray(address, address + ADDRESS_WORDS);
    writer.text(formatAddress({ w0, w1, w2, w3 }));
    return;
  }
  const word = words[address + ADDRESS_WORDS - 1] as number;
  writer.number(word >>> 24);
  for (let shift = 16; shift >= 0; shift -= 8) {
    writer.fixed(DOT);
    writer.number((word >>> shift) & 0xff);
  }
}
