/** What the end-to-end tests do around an agent that watches one port of this machine. */
import { once } from 'node:events';
import { rename, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';

/** Rules for one object manager, among hosts that may talk to it. */
export function rulesFor(port: number, hosts: readonly string[]): string {
  return JSON.stringify({
    version: 1,
    services: { 'object-manager': port },
    groups: { cluster: { hosts } },
    allow: [{ name: 'nodes exchange objects', from: 'cluster', to: 'object-manager' }],
  });
}

/** Replaces a file as editors do. */
export async function replaceFile(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text);
  await rename(`${path}.new`, path);
}

/** A few bytes to an echo server and back. */
export async function talk(socket: Socket): Promise<void> {
  socket.write('hello');
  await once(socket, 'data');
}
