/** Which way of capturing this machine offers: counting in the kernel first, then its ring, then libpcap. */
import type { Clock } from '../../common/clock.ts';
import { messageOf, PlasmawatchError, systemCodeOf } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import { openLibpcap } from './libpcap.ts';
import { openKernelFlows } from './linux/kernel-flows.ts';
import { openPacketRing } from './linux/packet-ring.ts';
import { type PacketSource, PortSet } from './source.ts';

/** The ways to capture, in the order of preference. */
export const CAPTURE_WAYS = ['kernel', 'ring', 'cap'] as const;
export type CaptureWay = (typeof CAPTURE_WAYS)[number];

export interface LiveSourceOptions {
  /** One interface by name; all interfaces without. */
  readonly interface?: string | undefined;
  readonly ports: PortSet;
  /** Only this way. */
  readonly prefer?: CaptureWay | undefined;
  /** That of the `Packet` which is filled with what is delivered. */
  readonly tunnelSeed?: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** A way that did not work, and why, in one line. */
export interface PassedOver {
  readonly name: string;
  readonly reason: string;
}

/** What `doctor` shows of a way to capture. */
export interface CaptureProbe {
  readonly name: CaptureWay;
  readonly available: boolean;
  /** Why it is not, or what it offers. */
  readonly reason: string;
  /** The command or package that makes it available, where one is known. */
  readonly fix?: string;
}

/** Never a capability on the file of node: that would be every script's of every user. */
const GRANT =
  'run it with sudo, or as a unit with these capabilities: ' +
  'sudo systemd-run --pty -p DynamicUser=yes -p "AmbientCapabilities=CAP_NET_RAW CAP_BPF" plasmawatch doctor';
const INSTALL: Readonly<Record<CaptureWay, string>> = {
  kernel: 'npm install koffi',
  ring: 'npm install koffi',
  cap: 'install libpcap with its headers (apt install libpcap-dev) and then npm install cap',
};
/** Errors of the kernel, and words of libpcap, that say "not permitted". */
const DENIED = /EPERM|EACCES|permission|not permitted/i;

/**
 * Opens the best source that works. Fails with PW_CAPTURE_UNAVAILABLE when none does; the message says in one line what
 * is missing and what grants it.
 */
export async function openLiveSource(
  options: LiveSourceOptions,
): Promise<{ source: PacketSource; passedOver: PassedOver[] }> {
  const failures: CaptureFailure[] = [];
  for (const way of options.prefer === undefined ? CAPTURE_WAYS : [options.prefer]) {
    try {
      const source = await OPENERS[way](options);
      return { source, passedOver: failures.map(({ name, reason }) => ({ name, reason })) };
    } catch (error) {
      failures.push(explainFailure(way, error));
    }
  }
  throw new PlasmawatchError('PW_CAPTURE_UNAVAILABLE', formatFailures(failures), {
    operation: 'open capture',
    subject: options.interface ?? 'all interfaces',
  });
}

/** Tries every way for a moment, on all interfaces and without a port. */
export async function probeCapture(dependencies: {
  readonly clock: Clock;
  readonly logger: Logger;
}): Promise<CaptureProbe[]> {
  const probes: CaptureProbe[] = [];
  for (const way of CAPTURE_WAYS) probes.push(await probeWay(way, dependencies));
  return probes;
}

const OPENERS: Readonly<Record<CaptureWay, (options: LiveSourceOptions) => Promise<PacketSource>>> = {
  kernel: openKernelFlows,
  ring: openPacketRing,
  cap: openLibpcap,
};

const OFFERS: Readonly<Record<CaptureWay, string>> = {
  kernel: 'flow table in the kernel: exact counts, few packets handed up, losses counted',
  ring: 'kernel packet ring: kernel times, losses counted',
  cap: 'libpcap: no kernel times, losses not counted',
};

interface CaptureFailure extends PassedOver {
  readonly name: CaptureWay;
  readonly isDenied: boolean;
  readonly fix: string | undefined;
}

async function probeWay(
  way: CaptureWay,
  dependencies: { readonly clock: Clock; readonly logger: Logger },
): Promise<CaptureProbe> {
  try {
    const source = await OPENERS[way]({ ...dependencies, ports: new PortSet() });
    source.stop();
    return { name: way, available: true, reason: OFFERS[way] };
  } catch (error) {
    const { reason, fix } = explainFailure(way, error);
    return { name: way, available: false, reason, ...(fix === undefined ? {} : { fix }) };
  }
}

/** What is missing, for a fault of the world; our own faults are thrown on. */
function explainFailure(way: CaptureWay, error: unknown): CaptureFailure {
  if (!(error instanceof PlasmawatchError)) throw error;
  const reason = messageOf(error);
  const isDenied = DENIED.test(`${systemCodeOf(error.cause) ?? ''} ${reason}`);
  if (isDenied) return { name: way, reason, isDenied, fix: GRANT };
  return { name: way, reason, isDenied, fix: error.operation === 'import' ? INSTALL[way] : undefined };
}

function formatFailures(failures: readonly CaptureFailure[]): string {
  const reasons = failures.map(({ name, reason }) => `${name}: ${reason}`).join('; ');
  const missing = failures.some(({ isDenied }) => isDenied)
    ? 'packets cannot be captured without CAP_NET_RAW'
    : 'packets cannot be captured here';
  const fixes = [...new Set(failures.map(({ fix }) => fix).filter((fix) => fix !== undefined))];
  return `${missing} (${reasons})${fixes.length === 0 ? '' : `: ${fixes.join('; or ')}`}`;
}
