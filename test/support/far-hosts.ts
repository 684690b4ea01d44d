/**
 * Hosts beyond a link, with as many addresses as a test likes, which connect to a server of the test's own machine: what a node does
 * over its loopback is nobody else's, and judged as such.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { endChild, ip, openNamespace, type NamespaceLink } from './netns.ts';

/** Addresses of the hosts: 1,022 of a network of its own for each process and link. */
const MAX_HOSTS = 1022;

let opened = 0;

export class FarHosts {
  readonly link: NamespaceLink;
  readonly #close: () => void;
  readonly #network: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<never>;
  readonly #answers = new Map<number, (answer: string) => void>();
  #asked = 0;

  private constructor(link: NamespaceLink, close: () => void, network: string) {
    this.link = link;
    this.#close = close;
    this.#network = network;
    this.#child = spawn('ip', ['netns', 'exec', link.namespace, process.execPath, '-e', SPEAKER], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#ended = once(this.#child, 'exit').then(() => Promise.reject(new Error('the far hosts have ended')));
    this.#ended.catch(() => {});
    const { stdout } = this.#child;
    if (stdout === null) throw new Error('no output of the far hosts');
    createInterface(stdout).on('line', (line) => {
      const [id = '', answer = ''] = line.split(' ');
      this.#answers.get(Number(id))?.(answer);
      this.#answers.delete(Number(id));
    });
  }

  /** Makes the link and the hosts behind it; to be closed. */
  static async open(): Promise<FarHosts> {
    const { link, close } = await openNamespace();
    try {
      opened++;
      const network = `10.${process.pid % 256}.${(opened % 64) * 4}`;
      await ip('-n', link.namespace, 'route', 'add', 'local', `${network}.0/22`, 'dev', 'lo');
      await ip('route', 'add', `${network}.0/22`, 'via', link.far.ipv4, 'dev', link.interface);
      return new FarHosts(link, close, network);
    } catch (error) {
      close();
      throw error;
    }
  }

  /** @param index from 1 */
  address(index: number): string {
    if (index < 1 || index > MAX_HOSTS) throw new Error(`there is no host ${index}`);
    const [a, b, c] = this.#network.split('.');
    return `${a}.${b}.${Number(c) + (index >> 8)}.${index & 255}`;
  }

  /** Connects to the near end from one of the addresses, says a word and closes. */
  async talk(from: string, port: number): Promise<void> {
    const connection = await this.connect(from, port);
    await connection.end();
  }

  /** A connection to the near end that stays open. */
  async connect(from: string, port: number): Promise<FarConnection> {
    const id = await this.#ask({ do: 'connect', from, to: this.link.near.ipv4, port });
    return {
      say: async () => void (await this.#ask({ do: 'say', id })),
      end: async () => void (await this.#ask({ do: 'end', id })),
    };
  }

  async close(): Promise<void> {
    await endChild(this.#child);
    this.#close();
  }

  async #ask(request: object): Promise<string> {
    const asked = ++this.#asked;
    const answered = new Promise<string>((resolve) => this.#answers.set(asked, resolve));
    this.#child.stdin?.write(`${JSON.stringify({ ...request, asked })}\n`);
    const answer = await Promise.race([answered, this.#ended]);
    if (answer.startsWith('E')) throw new Error(`a far host could not do it: ${answer}`);
    return answer;
  }
}

/** A connection of a far host. */
export interface FarConnection {
  /** Sends a few bytes, and waits for their echo. */
  say(): Promise<void>;
  /** Sends a few bytes and closes; resolves when both sides have. */
  end(): Promise<void>;
}

/** Does what the lines of its input ask for, and answers each with a line. */
const SPEAKER = `
  const net = require('node:net');
  const { once } = require('node:events');
  const sockets = new Map();
  const actions = {
    async connect({ asked, from, to, port }) {
      const socket = net.connect({ host: to, port, localAddress: from });
      await once(socket, 'connect');
      socket.on('error', () => {}).resume();
      sockets.set(String(asked), socket);
      return asked;
    },
    async say({ id }) {
      const socket = sockets.get(id);
      socket.write('hello');
      await once(socket, 'data');
      return 'said';
    },
    async end({ id }) {
      const socket = sockets.get(id);
      const closed = once(socket, 'close');
      socket.end('hello');
      await closed;
      return 'ended';
    },
  };
  require('node:readline').createInterface({ input: process.stdin }).on('line', async (line) => {
    const request = JSON.parse(line);
    const answer = await actions[request.do](request).catch((error) => error.code ?? 'ERROR');
    console.log(request.asked + ' ' + answer);
  });
  // Ends with the test that started it.
  process.stdin.on('end', () => process.exit(0));`;
