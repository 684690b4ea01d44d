/**
 * Network namespaces for tests on the real kernel: a peer behind a veth pair, whose near end stands in the test's own
 * namespace, so that a source in the test process can be bound to it.
 */
import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** What a test needs and does not have here, or undefined: for `describe.skipIf` and its title. */
export function missingForNamespaces(...programs: string[]): string | undefined {
  if (process.platform !== 'linux') return 'Linux';
  if (process.getuid?.() !== 0) return 'root';
  return ['ip', ...programs].find((program) => spawnSync('which', [program]).status !== 0);
}

export interface NamespaceLink {
  /** The near end, in the test's namespace. */
  readonly interface: string;
  /** The far namespace. */
  readonly namespace: string;
  readonly near: { readonly ipv4: string; readonly ipv6: string };
  readonly far: { readonly ipv4: string; readonly ipv6: string };
  /** Tries to connect from the near end to a port of the far one, whether somebody listens there or not. */
  knock(port: number): Promise<void>;
}

let made = 0;

/** A namespace and a veth pair to it. */
interface OpenNamespace {
  readonly link: NamespaceLink;
  /** Removes both. */
  readonly close: () => void;
}

/** Makes a namespace and a veth pair to it; to be closed. */
export async function openNamespace(): Promise<OpenNamespace> {
  made++;
  const unique = `${process.pid}x${made}`;
  // Each process has its own 64 of the networks in 198.18.0.0/15 (RFC 2544) and in 2001:db8::/32 (RFC 3849).
  const network = ((process.pid % 512) * 64 + (made % 64)) * 4;
  const ipv4 = (host: number): string =>
    `198.${18 + (network >>> 16)}.${(network >>> 8) & 255}.${(network & 255) + host}`;
  const ipv6 = (host: number): string =>
    `2001:db8:${(process.pid % 65_536).toString(16)}:${made.toString(16)}::${host}`;
  const link: NamespaceLink = {
    interface: `pw${unique}`.slice(0, 15),
    namespace: `plasmawatch-${unique}`,
    near: { ipv4: ipv4(1), ipv6: ipv6(1) },
    far: { ipv4: ipv4(2), ipv6: ipv6(2) },
    knock: (port) => knock(ipv4(2), port),
  };
  const close = (): void => {
    spawnSync('ip', ['link', 'del', link.interface]);
    spawnSync('ip', ['netns', 'del', link.namespace]);
  };
  const peer = 'far0';
  try {
    await ip('netns', 'add', link.namespace);
    await ip('link', 'add', link.interface, 'type', 'veth', 'peer', 'name', peer, 'netns', link.namespace);
    await ip('addr', 'add', `${link.near.ipv4}/30`, 'dev', link.interface);
    await ip('-6', 'addr', 'add', `${link.near.ipv6}/64`, 'dev', link.interface, 'nodad');
    await ip('link', 'set', link.interface, 'up');
    await ip('-n', link.namespace, 'addr', 'add', `${link.far.ipv4}/30`, 'dev', peer);
    await ip('-n', link.namespace, '-6', 'addr', 'add', `${link.far.ipv6}/64`, 'dev', peer, 'nodad');
    await ip('-n', link.namespace, 'link', 'set', peer, 'up');
    await ip('-n', link.namespace, 'link', 'set', 'lo', 'up');
    return { link, close };
  } catch (error) {
    close();
    throw error;
  }
}

/** Makes a namespace and a veth pair to it, calls `work`, and removes both whatever happens. */
export async function withNamespace(work: (link: NamespaceLink) => Promise<void>): Promise<void> {
  const { link, close } = await openNamespace();
  try {
    await work(link);
  } finally {
    close();
  }
}

/** A host of a `Cluster`, in a namespace of its own. */
export interface ClusterHost {
  readonly namespace: string;
  readonly address: string;
}

/** A node with a listener on its object-manager port, a member and a stranger who can reach it, each a namespace. */
export interface Cluster {
  readonly node: ClusterHost;
  readonly member: ClusterHost;
  readonly stranger: ClusterHost;
  /** This process's own address on the link to the node, where a collector can listen. */
  readonly collectorAddress: string;
  /** Lets a host connect to the node, exchange a few bytes, and close. */
  talk(who: 'member' | 'stranger', port: number): Promise<void>;
}

/** Makes the three namespaces, with an echo server on the node's port, and removes them after `work`. */
export async function withCluster(port: number, work: (cluster: Cluster) => Promise<void>): Promise<void> {
  await withNamespace(async ({ namespace: nodeNamespace, near }) => {
    const unique = nodeNamespace.replace('plasmawatch-', '');
    const hosts = {
      member: { namespace: `plasmawatch-m${unique}`, address: '198.18.1.2' },
      stranger: { namespace: `plasmawatch-s${unique}`, address: '198.18.2.2' },
    };
    try {
      for (const [index, [name, { namespace, address }]] of Object.entries(hosts).entries()) {
        const gateway = `198.18.${index + 1}.1`;
        await ip('netns', 'add', namespace);
        await ip(
          '-n',
          nodeNamespace,
          'link',
          'add',
          name,
          'type',
          'veth',
          'peer',
          'name',
          'eth0',
          'netns',
          namespace,
        );
        await ip('-n', nodeNamespace, 'addr', 'add', `${gateway}/24`, 'dev', name);
        await ip('-n', nodeNamespace, 'link', 'set', name, 'up');
        await ip('-n', namespace, 'addr', 'add', `${address}/24`, 'dev', 'eth0');
        await ip('-n', namespace, 'link', 'set', 'eth0', 'up');
        await ip('-n', namespace, 'route', 'add', 'default', 'via', gateway);
      }
      const node = { namespace: nodeNamespace, address: '198.18.1.1' };
      const talk: Cluster['talk'] = async (who, targetPort) => {
        const script = talkTo(node.address, targetPort);
        await run('ip', ['netns', 'exec', hosts[who].namespace, process.execPath, '-e', script]);
      };
      await withEchoServer(nodeNamespace, [port], () =>
        work({ node, ...hosts, collectorAddress: near.ipv4, talk }),
      );
    } finally {
      for (const { namespace } of Object.values(hosts)) spawnSync('ip', ['netns', 'del', namespace]);
    }
  });
}

/** Runs `ip` with these arguments; fails with what it wrote. */
export async function ip(...words: string[]): Promise<void> {
  await run('ip', words);
}

/**
 * An echo server in a namespace, or in this process's own, listening on these ports on all addresses; `work` runs while
 * it lives.
 */
export async function withEchoServer(
  namespace: string | undefined,
  ports: readonly number[],
  work: () => Promise<void>,
): Promise<void> {
  const place = namespace === undefined ? [] : ['ip', 'netns', 'exec', namespace];
  const [file, ...words] = [...place, process.execPath, '-e', echoServer(ports)];
  const child = spawn(file, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    const ended = once(child, 'exit').then(() =>
      Promise.reject(new Error('the echo server could not listen')),
    );
    await Promise.race([once(createInterface(child.stdout), 'line'), ended]);
    await work();
  } finally {
    await endChild(child);
  }
}

/** Ends a child that this test started, and waits for its end. */
export async function endChild(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill(signal);
  await ended;
}

function echoServer(ports: readonly number[]): string {
  return `
    const net = require('node:net');
    let pending = ${ports.length};
    for (const port of ${JSON.stringify(ports)}) {
      net.createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(port, '::', () => {
        if (--pending === 0) console.log('listening');
      });
    }
    // Ends with the test that started it.
    process.stdin.on('end', () => process.exit(0)).resume();`;
}

/** A client that sends a few bytes, waits for their echo, and closes. */
function talkTo(address: string, port: number): string {
  return `
    const socket = require('node:net').connect(${port}, ${JSON.stringify(address)}, () => socket.write('hello'));
    socket.on('data', () => socket.end());
    socket.setTimeout(10_000, () => process.exit(1));`;
}

async function knock(address: string, port: number): Promise<void> {
  const socket = connect({ host: address, port });
  await new Promise<void>((resolve) => {
    socket.on('connect', () => socket.destroy());
    socket.on('error', () => {});
    socket.on('close', () => resolve());
  });
}
