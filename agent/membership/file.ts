/**
 * The provider of members listed in a file (YAML or JSON), watched for changes. An entry is an address or a host name, or an
 * object with `addresses`, and optionally `id`, `role` and `ports` by service. A file that cannot be read or is
 * wrong leaves the last good list in place.
 */
import { basename } from 'node:path';
import { z } from 'zod';
import { parseAddress, type Address, type Prefix } from '../../common/address.ts';
import type { Clock } from '../../common/clock.ts';
import { parseHostName } from '../../common/host-name.ts';
import { loadYamlFile } from '../../common/config-file.ts';
import { formatDiagnostic } from '../../common/diagnostic.ts';
import type { Logger } from '../../common/log.ts';
import { LookLoop } from './look-loop.ts';
import type { GroupView, LookResult, Member, Provider } from './provider.ts';
import { ResolvedNames, type ResolveHost } from './resolved-names.ts';

const POLL_INTERVAL_MS = 1000;
const MAX_MEMBERS = 20_000;
/** Names in the file that are resolved, the first ones. */
const MAX_NAMES = 5000;
/** How long a look waits for names; questions that take longer are answered to the next look. */
const NAME_LIMIT_MS = 2000;
/** One list, so that an unchanged view is seen to be unchanged at a glance. */
const NO_PREFIXES: readonly Prefix[] = [];

const addressText = z
  .string()
  .refine(
    (text) => parseAddress(text) !== undefined || nameOf(text) !== undefined,
    'expected an IP address, or a host name with a dot, such as `w1.example.com` or `w1.`',
  );
const port = z.number().int().min(1).max(65_535);
const entrySchema = z.union([
  addressText,
  z.strictObject({
    addresses: z
      .array(addressText)
      .min(1)
      .max(64)
      .describe('Every address of the node, or names that have them.'),
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
  /** All addresses of a host name, as text. */
  readonly resolve?: ResolveHost;
}

type Entry = z.infer<typeof entrySchema>;

/** A provider of the members in the file at `path`, read again when it changes. */
export function createFileProvider(
  path: string,
  {
    clock,
    logger,
    resolve = () => Promise.reject(new Error('host names are not resolved here')),
  }: FileDependencies,
): Provider {
  const resolved = new ResolvedNames({
    clock,
    logger,
    resolve,
    maxNames: MAX_NAMES,
    text: 'host name in the members file does not resolve',
  });
  let publish: ((view: GroupView) => void) | undefined;
  let lastSource: string | undefined;
  let entries: readonly Entry[] = [];
  let names: ReadonlySet<string> = new Set();
  let members: readonly Member[] | undefined;
  let isRefused = false;

  function membersOf(): readonly Member[] {
    return entries.map((entry) => toMember(entry, path, resolved));
  }

  const loop = new LookLoop({
    clock,
    intervalMs: () => POLL_INTERVAL_MS,
    async look(isUrgent): Promise<LookResult> {
      const { value, diagnostics, source } = await loadYamlFile(membersFileSchema, path);
      if (value === undefined) {
        const problem = diagnostics[0];
        const text = problem && formatDiagnostic(problem, source);
        if (!isRefused) logger.warn({ problem: text }, 'members file refused, the last list stays');
        isRefused = true;
        return members === undefined ? 'answered' : 'failed';
      }
      isRefused = false;
      const isChanged = members === undefined || source !== lastSource;
      if (isChanged) {
        entries = value;
        names = new Set(value.flatMap(addressesOf).flatMap((text) => nameOf(text) ?? []));
      }
      lastSource = source;
      await resolved.follow(names, isUrgent, NAME_LIMIT_MS);
      // Without names an unchanged file is the same list, seen to be so at a glance.
      if (isChanged || names.size > 0) members = membersOf();
      const { failing } = resolved;
      publish?.({
        members: members ?? [],
        prefixes: NO_PREFIXES,
        asOfMs: clock.monotonic(),
        ...(failing.length === 0 ? {} : { unresolvedNames: failing }),
      });
      return failing.some((name) => resolved.of(name).addresses.length > 0) ? 'failed' : 'answered';
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

function toMember(entry: Entry, path: string, resolved: ResolvedNames): Member {
  const { id, role, ports } = typeof entry === 'string' ? { id: entry } : entry;
  const texts = addressesOf(entry);
  const addresses = texts.flatMap((text): readonly Address[] => {
    const literal = parseAddress(text);
    if (literal !== undefined) return [literal];
    return resolved.of(nameOf(text) ?? '').addresses;
  });
  const portLists = Object.entries(ports ?? {}).map(([service, number]) => [service, [number]] as const);
  return {
    id: id ?? texts[0] ?? '',
    addresses,
    ...(role === undefined ? {} : { role }),
    ports: new Map(portLists),
    source: `file ${basename(path)}`,
  };
}

function addressesOf(entry: Entry): readonly string[] {
  return typeof entry === 'string' ? [entry] : entry.addresses;
}

/** A name with a dot in it or at its end: a word alone is more likely a slip of the pen. */
function nameOf(text: string): string | undefined {
  return text.includes('.') ? parseHostName(text) : undefined;
}
