/** iperf3 in a network namespace. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { promisify } from 'node:util';
import { vi } from 'vitest';
import type { NamespaceLink } from './netns.ts';

/** Starts an iperf3 server at the far end of the link; resolves once it listens. The caller ends it. */
export async function startIperf({ namespace }: NamespaceLink, port: number): Promise<ChildProcess> {
  const inNamespace = ['netns', 'exec', namespace];
  const server = spawn('ip', [...inNamespace, 'iperf3', '-s', '-p', String(port)], { stdio: 'ignore' });
  const listens = `grep -qi ':${port.toString(16).padStart(4, '0')} .* 0A ' /proc/net/tcp /proc/net/tcp6`;
  await vi.waitFor(() => promisify(execFile)('ip', [...inNamespace, 'sh', '-c', listens]), {
    timeout: 15_000,
    interval: 20,
  });
  return server;
}
