/**
 * The allowlist as people write it: one schema, from which the types, the messages and the JSON Schema come.
 *
 * What needs more than one place of the file to judge (names that must exist, rules that never match) is in
 * `checks.ts`.
 */
import { domainToASCII } from 'node:url';
import { z } from 'zod';
import {
  formatPrefix,
  isCanonicalPrefix,
  isIpv4,
  parseAddress,
  parsePrefix,
  type Prefix,
} from '../common/address.ts';
import { parseHostName } from '../common/host-name.ts';
import { expected } from '../common/schema-message.ts';
import { checkedText } from '../common/text-field.ts';
import { TUNNEL_TYPES } from '../common/tunnel.ts';
import { parseSize } from '../common/units.ts';
import { parseHours } from './hours.ts';

/** TCP ports, both ends included. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Where a service listens: `auto` is found from the raylet and the members. */
export type ServicePorts = 'auto' | readonly PortRange[];

/** The group whose members are the nodes of the Ray cluster. */
export const CLUSTER_GROUP = 'cluster';

/** The service that is always watched. */
export const OBJECT_MANAGER = 'object-manager';

const single = (port: number): PortRange[] => [{ first: port, last: port }];

/**
 * The services of Ray that need no ports in the file, by the names of the options of `ray start`, with the ports that are
 * watched where nobody tells them: Ray's defaults (docs.ray.io, "Configuring Ray: Ports configurations"), none where
 * Ray picks a port on each node. For the object manager that is the port of this project's first analysis.
 */
export const KNOWN_SERVICES: ReadonlyMap<string, readonly PortRange[]> = new Map([
  [OBJECT_MANAGER, single(43_800)],
  ['node-manager', []],
  ['gcs', single(6379)],
  ['dashboard', single(8265)],
  ['client-server', single(10_001)],
  ['dashboard-agent', single(52_365)],
  ['dashboard-agent-grpc', []],
  ['metrics-export', []],
  ['runtime-env-agent', []],
  ['worker', [{ first: 10_002, last: 19_999 }]],
  ['serve', single(8000)],
]);

export const RULE_MODES = ['learn', 'audit', 'alert'] as const;
export type RuleMode = (typeof RULE_MODES)[number];

const MAX_ENTRIES = 1000;
/** Groups or services that one rule names. */
const MAX_NAMES = 100;
const MAX_RULES = 10_000;

/** The name of a group or of a service. */
export const name = checkedText(
  'a name of letters, digits, `.`, `_` and `-`',
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
);
const nameOrNames = z.union([name, z.array(name).min(1).max(MAX_NAMES)], {
  error: ({ input }) => (input === undefined ? undefined : expected('a name or a list of names', input)),
});
const line = checkedText('one line of 1 to 256 characters', /^(?=.*\S)[^\p{Cc}]{1,256}$/u);

const portNumber = z.number({ error: portError }).int({ error: portError }).min(1, { error: portError });
const port = portNumber.max(65_535, { error: portError });
const portRange = checkedText('a port or a range such as `10002-19999`', /^\d{1,5}-\d{1,5}$/, (text) => {
  const [first = 0, last = 0] = text.split('-').map(Number);
  if (first < 1 || last > 65_535) return 'ports are 1 to 65535';
  return first > last ? `\`${text}\` is reversed; write \`${last}-${first}\`` : undefined;
});
const servicePorts = z.union(
  [
    z.literal('auto'),
    port,
    z
      .array(z.union([port, portRange]))
      .min(1)
      .max(100),
    portRange,
  ],
  {
    error: ({ input }) =>
      expected('`auto`, a port, a range such as `10002-19999`, or a list of these', input),
  },
);

/** An address range in its canonical form. */
export const cidr = checkedText('an address range such as `10.20.0.0/24`', /./, (text) => {
  const prefix = parsePrefix(text);
  if (prefix === undefined)
    return mappedProblem(text) ?? expected('an address range such as `10.20.0.0/24`', text);
  return isCanonicalPrefix(prefix)
    ? undefined
    : `\`${text}\` has bits set beyond its length; write \`${formatPrefix(maskPrefix(prefix))}\``;
});
const host = checkedText('an address or a host name', /./, (text) => {
  if (parsePrefix(text) !== undefined)
    return text.includes('/') ? `\`${text}\` is a range; write it under \`cidr\`` : undefined;
  return hostNameProblem(text, 'an address or a host name');
});
const dnsName = checkedText('a DNS name such as `workers.ray.svc.cluster.local.`', /./, (text) => {
  if (parsePrefix(text) !== undefined) {
    return `\`${text}\` is no name; write it under \`${text.includes('/') ? 'cidr' : 'hosts'}\``;
  }
  return hostNameProblem(text, 'a DNS name such as `workers.ray.svc.cluster.local.`');
});

const wide = z
  .literal(true, { error: ({ input }) => expected('`true`, or nothing', input) })
  .optional()
  .describe('Confirms ranges that hold more than a /8 of IPv4 or a /16 of IPv6.');

/** Names as Kubernetes takes them (Kubernetes docs, "Labels and selectors", "Object names"): nothing else can end up in a query. */
const namespaceName = checkedText('a namespace such as `ray`', /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/);
export const labelValue = checkedText(
  'the value of a label, such as `my-cluster`',
  /^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/,
);
export const labelKey = checkedText(
  'the name of a label, such as `ray.io/cluster`',
  /^([a-z0-9][a-z0-9.-]{0,252}\/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/,
);

const groupSchema = z
  .strictObject({
    ray: z.literal('auto').optional().describe('The live members of the Ray cluster.'),
    kubernetes: z
      .strictObject({
        namespace: namespaceName
          .optional()
          .describe('The namespace of the pods; that of the agent when left out.'),
        cluster: labelValue
          .optional()
          .describe('The name of one RayCluster of KubeRay; every one of the namespace when left out.'),
        labels: z
          .record(labelKey, labelValue)
          .optional()
          .describe("Labels that a pod must carry; without them and without `cluster`, KubeRay's."),
      })
      .optional()
      .describe('The pods of a namespace, as the Kubernetes API lists them.'),
    dns: dnsName
      .optional()
      .describe('A DNS name that stands for many hosts, such as a headless service: each of its addresses.'),
    file: line
      .optional()
      .describe('A file that lists members, read again when it changes; relative to the rule file.'),
    cidr: z.array(cidr).min(1).max(MAX_ENTRIES).optional().describe('Address ranges.'),
    hosts: z.array(host).min(1).max(MAX_ENTRIES).optional().describe('Addresses and host names.'),
    wide,
  })
  .refine((group) => Object.keys(group).some((key) => key !== 'wide'), {
    error: 'a group needs at least one source: ray, kubernetes, dns, file, cidr or hosts',
    when: hasNoIssueYet,
  });

const allowSchema = z.strictObject({
  name: line.describe('What the rule is called in verdicts and alerts; unique.'),
  from: nameOrNames.describe('The group, or groups, that may open the connection.'),
  to: nameOrNames.describe('The service, or services, of a cluster member that may be reached.'),
  hours: checkedText(
    'hours such as `mon-fri 08:00-18:00 Europe/Berlin`',
    /./,
    (text) => parseHours(text).problem,
  )
    .optional()
    .describe('When the rule holds, by the wall clock of a time zone (UTC when left out).'),
  until: checkedText('a day such as `2027-03-01` or a time such as `2027-03-01T12:00:00Z`', /./, (text) =>
    parseUntil(text) === undefined
      ? expected('a day such as `2027-03-01` or a time such as `2027-03-01T12:00:00Z`', text)
      : undefined,
  )
    .optional()
    .describe('When the rule ends: the end of a day in UTC, or a time.'),
  owner: line.optional().describe('Who answers for the rule.'),
  reason: line.optional().describe('Why the rule is there.'),
  mode: z
    .enum(RULE_MODES)
    .optional()
    .describe('alert, the same as leaving it out; `learn` and `audit` are not supported yet and refused.'),
});

const limitSchema = z
  .strictObject({
    from: nameOrNames.describe('The group whose members are limited, each by itself.'),
    to: nameOrNames.optional().describe('The services that count; all when left out.'),
    out: rateText().optional().describe('Payload that the group may send, such as `5GiB/h`.'),
    in: rateText().optional().describe('Payload that the group may receive.'),
  })
  .refine((limit) => limit.out !== undefined || limit.in !== undefined, {
    error: 'a limit needs `out` or `in`',
    when: hasNoIssueYet,
  });

const requireSchema = z
  .strictObject({
    on: nameOrNames.describe('The service, or services, that the demand is for.'),
    wire: z.enum(['tls']).optional().describe('What the connection must be.'),
    payload: z.enum(['encrypted']).optional().describe('What the objects must be (client-side encryption).'),
  })
  .refine((demand) => demand.wire !== undefined || demand.payload !== undefined, {
    error: 'a demand needs `wire` or `payload`',
    when: hasNoIssueYet,
  });

const tunnelSchema = z.strictObject({
  type: z.enum(TUNNEL_TYPES).describe('The kind of tunnel.'),
  id: z
    .number()
    .int()
    .min(0)
    .max(16_777_215)
    .optional()
    .describe('Its number, where it is VXLAN, Geneve (VNI) or EoIP; every number when left out.'),
  ends: z.array(cidr).min(1).max(MAX_ENTRIES).describe('Address ranges in which both outer ends lie.'),
});

const evidenceSchema = z.strictObject({
  packets: z
    .number()
    .int()
    .min(0)
    .max(64)
    .optional()
    .describe('The first packets that are kept of a connection that nobody allowed; 16 when left out.'),
  payload: z
    .number()
    .int()
    .min(0)
    .max(512)
    .optional()
    .describe(
      'Bytes of payload that are kept of each, credentials masked as far as they are recognised; 0 when left out.',
    ),
});

const approvedSchema = z
  .strictObject({
    cidr: z.array(cidr).min(1).max(MAX_ENTRIES).optional().describe('Address ranges.'),
    hosts: z.array(host).min(1).max(MAX_ENTRIES).optional().describe('Addresses and host names.'),
    nodeGroups: z
      .array(labelValue)
      .min(1)
      .max(MAX_NAMES)
      .optional()
      .describe("Groups of nodes as Kubernetes tells them: KubeRay's worker groups, and `headgroup`."),
    ids: z
      .array(line)
      .min(1)
      .max(MAX_ENTRIES)
      .optional()
      .describe("Ids of single members: `NAMESPACE/POD`, or Ray's node id, which a restart changes."),
    wide,
  })
  .refine((approved) => Object.keys(approved).some((key) => key !== 'wide'), {
    error: 'an approval needs at least one of cidr, hosts, nodeGroups and ids',
    when: hasNoIssueYet,
  });

/** One rule file. */
export const rulesSchema = z.strictObject({
  version: z.literal(1).describe('The version of this format.'),
  services: z
    .record(name, servicePorts)
    .optional()
    .describe('Where services listen, by name: `auto`, a port, or a list of ports and ranges.'),
  groups: z
    .record(name, groupSchema)
    .optional()
    .describe(
      'Who is who: each group is the union of its sources. `cluster` is `{ ray: auto }` when left out.',
    ),
  members: z
    .enum(['listed', 'approved'])
    .optional()
    .describe(
      'Who of those that Ray or Kubernetes lists is a member of `cluster`: everybody (listed, when left out), or whom `approved` covers; in one file only.',
    ),
  approved: approvedSchema
    .optional()
    .describe('Whom `members: approved` lets be a member, as soon as a source lists it; in one file only.'),
  allow: z
    .array(allowSchema)
    .max(MAX_RULES)
    .optional()
    .describe('Who may reach what; the first rule that matches counts.'),
  limits: z.array(limitSchema).max(MAX_ENTRIES).optional().describe('Not supported yet: refused.'),
  require: z.array(requireSchema).max(MAX_ENTRIES).optional().describe('Not supported yet: refused.'),
  tunnels: z
    .array(tunnelSchema)
    .max(MAX_NAMES)
    .optional()
    .describe(
      'Tunnels whose inside counts as plain traffic, such as a mirror port or an overlay in a recording. Those that an interface of the node ends need not be named; what comes in any other is told apart, and accuses no member.',
    ),
  evidence: evidenceSchema
    .optional()
    .describe('What is kept of the packets of an unexpected connection; in one file only.'),
});

/** The sources of a group as written; in a `Ruleset`, `file` is resolved against the rule file's folder. */
export type GroupSources = Readonly<z.output<typeof groupSchema>>;

/** Who is approved of as a member of the cluster, as written. */
export type Approvals = Readonly<z.output<typeof approvedSchema>>;

/** A rule file's content after the schema; texts are checked and still as written. */
export type RulesFile = z.output<typeof rulesSchema>;

/** One entry under `allow:`. */
export type AllowEntry = z.output<typeof allowSchema>;

/** The end of a rule in ms since the epoch: the end of the day in UTC, or the RFC 3339 time; undefined for another text. */
export function parseUntil(text: string): number | undefined {
  const match = /^(\d{4})-(\d\d)-(\d\d)(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d))?$/.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, time] = match;
  const midnight = Date.UTC(Number(year), Number(month) - 1, Number(day));
  // Date.UTC carries 30 February over to March.
  if (new Date(midnight).toISOString().slice(0, 10) !== text.slice(0, 10)) return undefined;
  if (time === undefined) return midnight + 86_400_000;
  const timeMs = Date.parse(text);
  return Number.isNaN(timeMs) ? undefined : timeMs;
}

/** The ranges that a port, a range or a list of these names; the text was checked by the schema. */
export function toPortRanges(ports: number | string | readonly (number | string)[]): PortRange[] {
  if (typeof ports === 'number') return single(ports);
  if (typeof ports !== 'string') return ports.flatMap(toPortRanges);
  const [first = 0, last = first] = ports.split('-').map(Number);
  return [{ first, last }];
}

/** Of IPv4 written as IPv6, what to write instead. */
function mappedProblem(text: string): string | undefined {
  const [addressText = '', bitsText = '128'] = text.split('/');
  const address = parseAddress(addressText);
  if (address === undefined || !isIpv4(address) || !/^\d{1,3}$/.test(bitsText)) return undefined;
  const bits = Number(bitsText);
  if (bits < 96 || bits > 128) return undefined;
  const ipv4 = formatPrefix(maskPrefix({ ...address, bits }));
  return `\`${text}\` is IPv4 written as IPv6; write \`${ipv4}\``;
}

/** Of a name in another script, what to write instead: resolvers are asked for names in ASCII (RFC 5891, section 4). */
function nonAsciiProblem(text: string): string | undefined {
  const ascii = domainToASCII(text);
  if (/^[\x20-\x7e]*$/.test(text) || parseHostName(ascii) === undefined) return undefined;
  return `\`${text}\` is not ASCII; write \`${ascii}\``;
}

/** What is wrong with a text that is no host name, in one line; undefined where it is one. */
function hostNameProblem(text: string, what: string): string | undefined {
  if (parseHostName(text) !== undefined) return undefined;
  return mappedProblem(text) ?? nonAsciiProblem(text) ?? expected(what, text);
}

function portError({ input }: { input?: unknown }): string {
  return expected('a port from 1 to 65535', input);
}

/** A misspelt key is told once, and not a second time as a missing one. */
function hasNoIssueYet({ issues }: { issues: readonly unknown[] }): boolean {
  return issues.length === 0;
}

function rateText(): z.ZodString {
  const what = 'a rate such as `5GiB/h`';
  return checkedText(what, /^[\d.]+\s*[A-Za-z]+\/(s|m|h|d)$/, (text) =>
    parseSize(text.split('/')[0] ?? '') === undefined ? expected(what, text) : undefined,
  );
}

function maskPrefix(prefix: Prefix): Prefix {
  const mask = (word: number, index: number): number => {
    const bits = Math.min(32, Math.max(0, prefix.bits - index * 32));
    return bits === 0 ? 0 : word & (-1 << (32 - bits));
  };
  return {
    w0: mask(prefix.w0, 0),
    w1: mask(prefix.w1, 1),
    w2: mask(prefix.w2, 2),
    w3: mask(prefix.w3, 3),
    bits: prefix.bits,
  };
}
