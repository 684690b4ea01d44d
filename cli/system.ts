/** The machine as the command line hands it to the parts: host names, addresses, places for state. */
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { homedir, hostname, networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { Terminal } from './command.ts';

/** All addresses of a host name, as the system's resolver tells them. */
export async function resolveHost(name: string): Promise<string[]> {
  const answers = await lookup(name, { all: true });
  return answers.map(({ address }) => address);
}

/** Every address of this machine, loopback included. */
export function localAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((addresses) =>
    (addresses ?? []).map(({ address }) => address.replace(/%.*$/, '')),
  );
}

/** Every address of this machine with the length of its network, such as `10.0.0.5/24`. */
export function localNetworks(): string[] {
  return Object.values(networkInterfaces()).flatMap((addresses) =>
    (addresses ?? []).map(({ address, cidr }) => (cidr ?? address).replace(/%[^/]*/, '')),
  );
}

/** This node's name where the configuration gives none; characters that a name may not have become `-`. */
export function defaultNodeName(): string {
  return (
    hostname()
      .replaceAll(/[^A-Za-z0-9._:-]/g, '-')
      .slice(0, 128) || 'node'
  );
}

/** Where `plasmawatch up` keeps its state (XDG Base Directory Specification). */
export function stateDirectory(env: Readonly<Record<string, string | undefined>>): string {
  const base = env['XDG_STATE_HOME'];
  return base !== undefined && base.startsWith('/') ? join(base, 'plasmawatch') : stateBelow(homedir());
}

/** The same of another user, who has set no other place. */
export function stateBelow(home: string): string {
  return join(home, '.local', 'state', 'plasmawatch');
}

/** Resolves when the process is told to stop; until then it keeps the process alive. */
export async function untilStopped({ stopSignal }: Pick<Terminal, 'stopSignal'>): Promise<void> {
  const keepAlive = setInterval(() => {}, 60_000);
  try {
    if (!stopSignal.aborted) await once(stopSignal, 'abort');
  } finally {
    clearInterval(keepAlive);
  }
}
