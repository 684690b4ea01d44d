/** What the end-to-end tests do around an agent that watches one port of this machine. */
import { rename, writeFile } from 'node:fs/promises';

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
