/** What this process is privileged to do (capabilities(7)). */
import { CAP_BPF, CAP_DAC_READ_SEARCH, CAP_NET_RAW, CAP_SYS_PTRACE } from '../capture/linux/constants.ts';
import { readStart } from './proc-files.ts';

/** The capabilities that an agent has a use for; undefined where the system does not tell. */
export interface Capabilities {
  /** Opens the packet socket. */
  readonly netRaw: boolean | undefined;
  /** Counts in the kernel. */
  readonly bpf: boolean | undefined;
  /** Reads the links of processes of other users: their files, sockets and namespaces (ptrace(2)). */
  readonly sysPtrace: boolean | undefined;
  /** Lists the descriptors of processes of other users: the folder is theirs alone. */
  readonly dacReadSearch: boolean | undefined;
}

const MAX_STATUS_BYTES = 65_536;

/** Reads the effective capabilities of this process (proc_pid_status(5)). */
export async function readCapabilities(statusPath = '/proc/self/status'): Promise<Capabilities> {
  const text = (await readStart(statusPath, MAX_STATUS_BYTES)) ?? '';
  const mask = /^CapEff:\s*([0-9a-f]{16})$/m.exec(text)?.[1];
  const has = (capability: number): boolean | undefined =>
    mask === undefined ? undefined : ((BigInt(`0x${mask}`) >> BigInt(capability)) & 1n) === 1n;
  return {
    netRaw: has(CAP_NET_RAW),
    bpf: has(CAP_BPF),
    sysPtrace: has(CAP_SYS_PTRACE),
    dacReadSearch: has(CAP_DAC_READ_SEARCH),
  };
}
