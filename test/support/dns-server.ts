/** A DNS server on loopback (RFC 1035), over UDP and, where an answer is too long for a datagram, TCP. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, isIPv4, type Server } from 'node:net';
import { parseAddress } from '../../common/address.ts';

const HEADER_BYTES = 12;
const MAX_DATAGRAM_BYTES = 1232;
const RESPONSE_FLAGS = 0x8580;
const TRUNCATED_FLAG = 0x0200;
const TYPES = { A: 1, AAAA: 28 } as const;
const CODES = { NOERROR: 0, SERVFAIL: 2, NXDOMAIN: 3 } as const;

export type RecordType = keyof typeof TYPES;

/** Addresses of any family, or a response code. */
export type NameAnswer = 'NXDOMAIN' | 'SERVFAIL' | readonly string[];

export class DnsServer {
  /** What was asked, as `A name`, in order. */
  readonly questions: string[] = [];
  ttlSeconds = 30;
  readonly #names = new Map<string, NameAnswer>();
  readonly #datagrams: Socket;
  readonly #streams: Server;

  private constructor(datagrams: Socket, streams: Server) {
    this.#datagrams = datagrams;
    this.#streams = streams;
    datagrams.on('message', (query, { port, address }) => {
      const answer = this.#answer(query);
      if (answer !== undefined) datagrams.send(cut(answer), port, address);
    });
    streams.on('connection', (socket) => {
      socket.once('data', (bytes: Buffer) => {
        const answer = this.#answer(bytes.subarray(2));
        if (answer !== undefined) socket.end(Buffer.concat([uint16(answer.length), answer]));
      });
    });
  }

  static async open(): Promise<DnsServer> {
    const streams = createServer();
    streams.listen(0, '127.0.0.1');
    await once(streams, 'listening');
    const { port } = streams.address() as { port: number };
    const datagrams = createSocket('udp4');
    datagrams.bind(port, '127.0.0.1');
    await once(datagrams, 'listening');
    return new DnsServer(datagrams, streams);
  }

  /** As a resolver is told of it. */
  get endpoint(): string {
    return `127.0.0.1:${this.#datagrams.address().port}`;
  }

  /** Sets the answer for a name, or for one type of it: `AAAA name`. Names that are not set do not exist. */
  set(name: string, answer: NameAnswer): void {
    this.#names.set(name, answer);
  }

  async close(): Promise<void> {
    this.#datagrams.close();
    this.#streams.close();
    await once(this.#streams, 'close');
  }

  #answer(query: Buffer): Buffer | undefined {
    const { name, type, end } = readQuestion(query);
    if (type === undefined) return undefined;
    this.questions.push(`${type} ${name}`);
    const answer = this.#names.get(`${type} ${name}`) ?? this.#names.get(name) ?? 'NXDOMAIN';
    const addresses =
      typeof answer === 'string' ? [] : answer.filter((text) => isIPv4(text) === (type === 'A'));
    const code = typeof answer === 'string' ? CODES[answer] : CODES.NOERROR;
    return Buffer.concat([
      query.subarray(0, 2),
      uint16(RESPONSE_FLAGS | code),
      ...[1, addresses.length, 0, 0].map(uint16),
      query.subarray(HEADER_BYTES, end),
      ...addresses.map((address) => this.#record(type, address)),
    ]);
  }

  /** The name is a pointer to that of the question, right behind the header. */
  #record(type: RecordType, address: string): Buffer {
    const data = addressBytes(address).subarray(type === 'A' ? 12 : 0);
    const [pointer, internetClass] = [0xc000 | HEADER_BYTES, 1];
    const head = [pointer, TYPES[type], internetClass, 0, this.ttlSeconds, data.length].map(uint16);
    return Buffer.concat([...head, data]);
  }
}

/** An answer that is too long for a datagram has its records left out and says so. */
function cut(answer: Buffer): Buffer {
  if (answer.length <= MAX_DATAGRAM_BYTES) return answer;
  const { end } = readQuestion(answer);
  const short = Buffer.from(answer.subarray(0, end));
  short.writeUInt16BE(answer.readUInt16BE(2) | TRUNCATED_FLAG, 2);
  short.writeUInt16BE(0, 6);
  return short;
}

function readQuestion(message: Buffer): { name: string; type: RecordType | undefined; end: number } {
  const labels: string[] = [];
  let offset = HEADER_BYTES;
  for (let length = message[offset] ?? 0; length > 0; length = message[offset] ?? 0) {
    labels.push(message.toString('latin1', offset + 1, offset + 1 + length));
    offset += 1 + length;
  }
  const type = message.readUInt16BE(offset + 1);
  const known = Object.entries(TYPES).find(([, number]) => number === type)?.[0];
  return { name: labels.join('.'), type: known as RecordType | undefined, end: offset + 5 };
}

/** 16 bytes; an IPv4 address is the last four. */
function addressBytes(text: string): Buffer {
  const address = parseAddress(text);
  if (address === undefined) throw new Error(`no address: ${text}`);
  const bytes = Buffer.alloc(16);
  [address.w0, address.w1, address.w2, address.w3].forEach((word, index) =>
    bytes.writeInt32BE(word, index * 4),
  );
  return bytes;
}

function uint16(number: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(number);
  return bytes;
}
