/** The agent's settings: schema, defaults, and a sentence for each field. */
import { z } from 'zod';
import { durationMs, sizeBytes } from '../common/config-file.ts';
import { PATHS } from '../common/paths.ts';

/** No path of Linux is longer (PATH_MAX). */
const filePath = z.string().min(1).max(4096);

export const CAPTURE_CHOICES = ['auto', 'kernel', 'ring', 'cap'] as const;

export const agentConfigSchema = z.strictObject({
  node: z
    .string()
    .regex(/^[A-Za-z0-9._:-]{1,128}$/, 'letters, digits and ._:- only, at most 128')
    .optional()
    .describe("This node's name in reports. Default: the host name."),
  rules: filePath
    .optional()
    .describe(
      'The allowlist: a YAML file or a folder of them. Default: the nodes of the cluster exchange objects, and nobody else does.',
    ),
  collector: z
    .strictObject({
      url: z
        .url({ protocol: /^wss?$/ })
        .max(2048)
        .describe('Where the collector listens: `wss://collector.example.com:9440` (`ws://` on loopback).'),
      tokenFile: filePath
        .optional()
        .describe('File with the agent token. Or the environment: PLASMAWATCH_AGENT_TOKEN.'),
      caFile: filePath
        .optional()
        .describe("File with the certificate authority of the collector's certificate (PEM)."),
      enrolTokenFile: filePath
        .optional()
        .describe(
          'File with a one-time token (`plasmawatch agents enrol`), exchanged for a key of its own at the first start. Or the environment: PLASMAWATCH_ENROL_TOKEN.',
        ),
      rulesKeyFile: filePath
        .optional()
        .describe(
          "File with the public key (Ed25519, PEM) of the collector's rules: they are taken in place of `rules`, once it has handed some out.",
        ),
      certificateFile: filePath
        .optional()
        .describe(
          "File with this agent's certificate (PEM), where the collector asks for one (`tls.clientCa`).",
        ),
      keyFile: filePath.optional().describe("File with the certificate's private key (PEM)."),
      insecure: z.boolean().default(false).describe('Send the token without TLS to another machine.'),
    })
    .refine(({ certificateFile, keyFile }) => (certificateFile === undefined) === (keyFile === undefined), {
      error: 'expected certificateFile and keyFile together',
    })
    .describe('The collector that takes the reports.'),
  ray: z
    .strictObject({
      tokenFile: filePath
        .optional()
        .describe(
          "File with Ray's own token, for a cluster with `RAY_AUTH_MODE=token`. Or the environment, as for Ray: RAY_AUTH_TOKEN.",
        ),
      user: z
        .union([z.string().min(1).max(64), z.number().int().min(0).max(4_294_967_294)])
        .optional()
        .describe(
          "User (name or id) whose raylet is believed. Default: root, the agent's own user, the user of `sudo`, and the owner of `ray.executable`.",
        ),
      executable: z
        .string()
        .startsWith('/', 'an absolute path')
        .max(4096)
        .optional()
        .describe(
          "File that the raylet must run. Default: any `…/ray/core/src/ray/raylet/raylet` that nobody but root and the raylet's user may change.",
        ),
      expected: z
        .boolean()
        .default(true)
        .describe(
          'Whether a raylet runs on this machine. `false` for one that has none on purpose, such as a jump host: that its port is not confirmed is then neither logged nor an incident.',
        ),
      confirmWithin: durationMs({ min: '10s', max: '24h' })
        .prefault('5m')
        .describe('Time without a confirmed object-manager port after which that is an incident.'),
    })
    .prefault({})
    .describe("Which raylet is believed, and how the head's dashboard is asked who belongs to the cluster."),
  capture: z
    .strictObject({
      way: z
        .enum(CAPTURE_CHOICES)
        .default('auto')
        .describe(
          '`kernel` (counts in the kernel, Linux 5.14), `ring` (Linux), `cap` (libpcap), or the best that works.',
        ),
      interface: z.string().max(64).optional().describe('One network interface. Default: all of them.'),
      maxFlows: z
        .number()
        .int()
        .min(1024)
        .max(4_000_000)
        .default(65_536)
        .describe(
          'Connections that are kept at a time; beyond that the longest quiet one is forgotten and counted.',
        ),
    })
    .prefault({})
    .describe('How packets are captured.'),
  spool: z
    .strictObject({
      path: filePath.default(PATHS.spool).describe('File of the durable queue.'),
      maxSize: sizeBytes({ min: '1MiB', max: '1TiB' })
        .prefault('256MiB')
        .describe('Size at which reports are turned away (and counted).'),
    })
    .prefault({})
    .describe('The queue that holds reports until the collector has them on disk.'),
  membership: z
    .strictObject({
      grace: durationMs({ min: '1s', max: '5m' })
        .prefault('10s')
        .describe(
          'So long before the report of its join a node counts as a member, and so long a stranger is waited for at most while a source is away.',
        ),
      linger: durationMs({ min: '1s', max: '1h' })
        .prefault('30s')
        .describe('So long a node that has left still counts as a member; then it is a former member.'),
      keep: durationMs({ min: '5m', max: '30d' })
        .prefault('24h')
        .describe('So long the last list of a source stands that does not answer any more.'),
      staleAfter: durationMs({ min: '30s', max: '24h' })
        .prefault('5m')
        .describe('A source that has not answered for so long is an incident.'),
      firstList: durationMs({ min: '10s', max: '1h' })
        .prefault('10m')
        .describe(
          'Longest time that an unknown peer of the own networks is pending while no complete list of members was ever seen. Then it is reported whatever happens.',
        ),
    })
    .prefault({})
    .describe(
      'For how long the word of a source of members counts. `replay` and `rules explain` take the defaults.',
    ),
  stateFolder: filePath
    .default(PATHS.agentState)
    .describe(
      'Folder of what the agent keeps besides its queue: its key, the rules of the collector, and who is known as a member of the cluster.',
    ),
  heartbeatInterval: durationMs({ min: '1s', max: '5m' })
    .prefault('10s')
    .describe('How often the counters are sent to the collector.'),
});

export type AgentConfig = z.output<typeof agentConfigSchema>;
