/**
 * The provider of members listed in a file (YAML or JSON), watched for changes. An entry is an address, or an
 * object with `addresses`, and optionally `id`, `role` and `ports` by service. A file that cannot be read or is
 * wrong leaves the last good list in place.
 */
import { basename } from 'node:path';
import { z } from 'zod';
import { parseAddress, type Address, type Prefix } from '../../common/address.ts';
import type { Clock } from '../../common/clock.ts';
import { loadYamlFile } from '../../common/config-file.ts';
import { formatDiagnostic } from '../../common/diagnostic.ts';
import type { Logger } from '../../common/log.ts';
import { LookLoop } from './look-loop.ts';
import type { GroupView, LookResult, Member, Provider } from './provider.ts';

const POLL_INTERVAL_MS = 1000;
const MAX_MEMBERS = 20_000;
/** One list, so that an unchanged view is seen to be unchanged at a glance. */
const NO_PREFIXES: readonly Prefix[] = [];

const addressText = z.string().refine((text) => parseAddress(text) !== undefined, 'expected an IP address');
const port = z.number().int().min(1).max(65_535);
const entrySchema = z.union([
  addressText,
  z.strictObject({
    addresses: z.array(addressText).min(1).max(64).describe('Every address of the node.'),
    id: z.string().max(128).optional().describe("Ray's node id or another name."),
    role: z.string().max(64).optional().describe('head or worker.'),
    ports: z.record(z.string().max(64), port).optional().describe('Port by service.'),
  }),
]);
/** The file's content. */
export const membersFileSchema = z.array(entrySchema).max(MAX_MEMBERS);

interface FileDependencies {
  readonly clock: Clock;
  readonly logger: Logger;
}

/** A provider of the members in the file at `path`, read again when it changes. */
export function createFileProvider(path: string, { clock, logger }: FileDependencies): Provider {
  let publish: ((view: GroupView) => void) | undefined;
  let lastSource: string | undefined;
  let members: readonly Member[] | undefined;
  let isRefused = false;

  const loop = new LookLoop({
    clock,
    intervalMs: () => POLL_INTERVAL_MS,
    async look(): Promise<LookResult> {
      const { value, diagnostics, source } = await loadYamlFile(membersFileSchema, path);
      if (value === undefined) {
        const problem = diagnostics[0];
        const text = problem && formatDiagnostic(problem, source);
        if (!isRefused) logger.warn({ problem: text }, 'members file refused, the last list stays');
        isRefused = true;
        return members === undefined ? 'answered' : 'failed';
      }
      isRefused = false;
      if (members === undefined || source !== lastSource)
        members = value.map((entry) => toMember(entry, path));
      lastSource = source;
      publish?.({ members, prefixes: NO_PREFIXES, asOfMs: clock.monotonic() });
      return 'answered';
    },
  });

  return {
    name: `file ${basename(path)}`,
    given: 'in a file',
    start(take) {
      publish = take;
      return loop.start();
    },
    refresh: () => loop.lookNow(),
    stop: () => loop.stop(),
  };
}

function toMember(entry: z.infer<typeof entrySchema>, path: string): Member {
  const provider = `file ${basename(path)}`;
  const { addresses, id, role, ports } = typeof entry === 'string' ? fromAddress(entry) : entry;
  const parsed = addresses.map(parseAddress).filter((address): address is Address => address !== undefined);
  const portLists = Object.entries(ports ?? {}).map(([service, number]) => [service, [number]] as const);
  return {
    id: id ?? addresses[0] ?? '',
    addresses: parsed,
    ...(role === undefined ? {} : { role }),
    ports: new Map(portLists),
    source: provider,
  };
}

function fromAddress(address: string): Exclude<z.infer<typeof entrySchema>, string> {
  return { addresses: [address] };
}
