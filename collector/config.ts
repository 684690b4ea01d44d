/** The collector's settings: schema, defaults, and a sentence for each field. */
import { z } from 'zod';
import { isLoopbackHost } from '../common/address.ts';
import { durationMs, sizeBytes } from '../common/config-file.ts';
import { PlasmawatchError } from '../common/errors.ts';
import { PATHS } from '../common/paths.ts';
import { filePath, hostName, port, wholeNumber } from './config-fields.ts';
import { limitsSchema } from './edge/limits-config.ts';
import { muteTimesSchema } from './incident/mute-times.ts';
import { nodeLabelsSchema } from './incident/node-labels.ts';
import { checkRoutes, routesSchema } from './incident/routing-config.ts';
import { membershipSchema } from './membership/config.ts';
import { receiversSchema } from './notify/receivers.ts';
import { name as serviceName } from '../rules/schema.ts';
import { ROLES, type ApiToken } from './api/access.ts';
import { cidr } from '../rules/schema.ts';
import { findWide } from '../rules/wide.ts';

const apiTokens = z
  .array(
    z.strictObject({
      name: z
        .string()
        .regex(/^[A-Za-z0-9._@-]{1,64}$/, 'letters, digits and ._@- only, at most 64')
        .refine((name) => name !== 'admin' && name !== 'local', 'another name: it is taken')
        .describe('Who or what uses the token.'),
      role: z
        .enum(ROLES)
        .describe('`viewer` looks, `responder` looks after incidents too, `admin` may do everything.'),
      tokenFile: filePath.describe('File with the token, at least 16 characters.'),
    }),
  )
  .max(256)
  .refine((list) => new Set(list.map(({ name }) => name)).size === list.length, {
    error: 'expected a different name for each token',
  });

const settings = z.strictObject({
  listen: z
    .strictObject({
      host: hostName
        .default('127.0.0.1')
        .describe(
          'Address to listen on. Beyond loopback, both tokens are needed; on loopback, the collector makes those that are missing.',
        ),
      port: port.default(9440).describe('TCP port of agents, API and metrics; 0 for any free one.'),
      allowedHosts: z
        .array(hostName)
        .max(64)
        .default([])
        .describe('Names by which the API may be addressed, besides localhost and IP addresses.'),
    })
    .prefault({})
    .describe('Where agents, the API and Prometheus find the collector.'),
  trustedProxies: z
    .array(cidr)
    .max(64)
    .refine((ranges) => findWide(ranges) === undefined, {
      error: 'expected the addresses of your proxies: these ranges hold almost everybody',
    })
    .default([])
    .describe(
      'Addresses of reverse proxies: of their requests the client is the last one in X-Forwarded-For that is none of them, and limits per address are not theirs.',
    ),
  tls: z
    .strictObject({
      cert: filePath.describe('File with the certificate and its chain (PEM).'),
      key: filePath.describe('File with the private key (PEM).'),
      clientCa: filePath
        .optional()
        .describe(
          'File with the authority that signs certificates of clients (PEM). Agents and users of the API then need one; ' +
            'that of an agent has one URI, `plasmawatch:/agent/NAME` or `spiffe://…/agent/NAME`.',
        ),
    })
    .optional()
    .describe('Serve HTTPS and WSS instead of HTTP and WS.'),
  agentTokenFile: filePath
    .optional()
    .describe('File with the token that agents present. Or the environment: PLASMAWATCH_AGENT_TOKEN.'),
  apiTokenFile: filePath
    .optional()
    .describe(
      'File with the token of API and metrics; its caller is `admin`. Or the environment: PLASMAWATCH_API_TOKEN.',
    ),
  apiTokens: apiTokens
    .default([])
    .describe('More tokens of the API, each with a name and a role; the name stands in the audit log.'),
  store: z
    .strictObject({
      path: filePath.default(PATHS.store).describe('File of the database; `:memory:` keeps nothing.'),
      keepDays: z
        .number()
        .positive()
        .max(3650)
        .default(30)
        .describe('Days after which reports, resolved incidents and unseen agents are removed.'),
      maxReports: wholeNumber(1000, 100_000_000)
        .default(1_000_000)
        .describe(
          'Number of reports kept. Above it the agents with the largest shares lose reports, flow reports first.',
        ),
      maxSize: sizeBytes({ min: '16MiB', max: '16TiB' })
        .prefault('4GiB')
        .describe(
          'Size of the database above which reports are removed in the same way, evidence of unresolved incidents last.',
        ),
      keepAuditDays: z
        .number()
        .positive()
        .max(3650)
        .default(400)
        .describe('Days after which entries of the audit log are removed.'),
    })
    .prefault({})
    .describe('What is remembered, and for how long.'),
  limits: limitsSchema
    .prefault({})
    .describe("What agents and others may use up. Four seconds' worth may come at once."),
  fleet: z
    .strictObject({
      missingAfter: durationMs({ min: '5s', max: '1d' })
        .prefault('60s')
        .describe('An agent that is not heard for so long is an incident.'),
      stoppedAfter: durationMs({ min: '5s', max: '30d' })
        .prefault('1h')
        .describe(
          'An agent that was stopped, and neither started again nor retired, is a warning after so long.',
        ),
      enrolledOnly: z
        .boolean()
        .default(false)
        .describe(
          'Agents need a key of their own (`plasmawatch agents enrol`); the agent token opens nothing.',
        ),
      enrolmentTokenLife: durationMs({ min: '1m', max: '7d' })
        .prefault('1h')
        .describe('How long a one-time token for a new agent holds.'),
      maxClockSkew: durationMs({ min: '10ms', max: '1h' })
        .prefault('1s')
        .describe("Where an agent's clock is further off, the times of incidents are corrected."),
      services: z
        .array(serviceName)
        .max(1000)
        .default([])
        .describe(
          'Names of services in rules that agents have of their own. A name that is unknown here is stored as `other`.',
        ),
    })
    .prefault({})
    .describe('When the absence of agents is told, and which clocks are trusted.'),
  rules: z
    .strictObject({
      path: filePath.describe('The allowlist for all agents that take it: a YAML file or a folder of them.'),
      keyFile: filePath.describe('File with the private key that signs it (Ed25519, PEM).'),
    })
    .optional()
    .describe('Rules that are handed out to agents (`collector.rulesKeyFile` there).'),
  deadMan: z
    .strictObject({
      urlFile: filePath
        .optional()
        .describe(
          'File with the URL of a service that tells people when it is not asked any more. Or the environment: PLASMAWATCH_DEAD_MAN_URL.',
        ),
      interval: durationMs({ min: '10s', max: '1d' })
        .prefault('1m')
        .describe('How often the URL is asked while this collector is well.'),
    })
    .prefault({})
    .describe('Who notices that the collector itself is gone.'),
  incidents: z
    .strictObject({
      quietMinutes: z
        .number()
        .positive()
        .max(10_080)
        .default(15)
        .describe('An incident without a report for so many minutes is resolved.'),
      maxUnresolved: wholeNumber(1, 100_000)
        .default(50)
        .describe(
          'Number of unresolved incidents of one agent above which its new anomalies join one incident per kind of its own.',
        ),
      groupWait: durationMs({ min: '0s', max: '10m' })
        .prefault('10s')
        .describe(
          'An incident that is not critical, or one of many, is told so much later, with all that came with it.',
        ),
      updateInterval: durationMs({ min: '10s', max: '1d' })
        .prefault('5m')
        .describe('An incident that only grows is told again at most this often, each time it has doubled.'),
      repeatInterval: durationMs({ min: '1m', max: '30d' })
        .prefault('4h')
        .describe('An incident that nobody acknowledged is told again after so long.'),
      reopenWithin: durationMs({ min: '0s', max: '30d' })
        .prefault('6h')
        .describe(
          'An incident opens again when its story comes back within so long, and stays open twice as long as before.',
        ),
      maxQuiet: durationMs({ min: '1m', max: '30d' })
        .prefault('8h')
        .describe('At most so long an incident that opened again is kept open without a report.'),
      burstWithin: durationMs({ min: '1s', max: '1d' })
        .prefault('5m')
        .describe('Time in which more than `burstSubjects` like anomalies are one incident.'),
      burstSubjects: wholeNumber(2, 100)
        .default(5)
        .describe(
          'Number of anomalies of the same kind, service and amount of data, from one agent or from so many agents, above which they are one incident.',
        ),
      scanServices: wholeNumber(2, 100)
        .default(5)
        .describe('A stranger who talks to so many services at a time scans: that is one incident.'),
      messagesPerHour: wholeNumber(1, 100_000)
        .default(10)
        .describe(
          'Number of messages that a receiver gets in an hour about one peer or node, of one kind and severity; twenty times as many about all that one agent alone reports. Ends are not counted.',
        ),
    })
    .prefault({})
    .describe('How anomalies become incidents.'),
  notify: z
    .strictObject({
      giveUpDays: z
        .number()
        .positive()
        .max(30)
        .default(3)
        .describe('Days after which a message that could not be delivered is marked failed.'),
    })
    .prefault({})
    .describe('How messages are delivered.'),
  membership: membershipSchema
    .prefault({})
    .describe('Whose view of who belongs to a cluster is handed to other agents.'),
  receivers: receiversSchema.default([]).describe('Who is told of incidents.'),
  routes: routesSchema
    .default([])
    .describe(
      'Which receivers are told of which incidents: the first that matches. All are, where none matches.',
    ),
  muteTimes: muteTimesSchema
    .default([])
    .describe('Hours of the week in which some incidents are told to nobody.'),
  nodeLabels: nodeLabelsSchema.default([]).describe('Labels of nodes, for `match` in routes and mute times.'),
  influx: z
    .strictObject({
      host: hostName.default('127.0.0.1').describe('Host of InfluxDB.'),
      port: port.default(8086).describe('Port of its HTTP API.'),
      tls: z.boolean().default(false).describe('Connect with HTTPS.'),
      database: z
        .string()
        .regex(/^[A-Za-z0-9_.-]{1,64}$/, 'letters, digits and _.- only, at most 64')
        .default('plasmawatch')
        .describe('Database; made when it is missing.'),
      username: z.string().min(1).max(256).optional().describe('User, where the database asks for one.'),
      passwordFile: filePath
        .optional()
        .describe("File with the user's password (for InfluxDB 3: the token)."),
    })
    .optional()
    .describe('Write flows and anomalies to InfluxDB.'),
});

export const collectorConfigSchema = settings.superRefine(({ routes, receivers }, context) => {
  const names = receivers.map(({ name }) => name);
  for (const { path, message } of checkRoutes(routes, names)) {
    context.addIssue({ code: 'custom', path: ['routes', ...path], message });
  }
});

export type CollectorConfig = z.output<typeof collectorConfigSchema>;

/** The settings of a collector that nobody configured: loopback, no receivers. */
export function defaultCollectorConfig(): CollectorConfig {
  return collectorConfigSchema.parse({});
}

/**
 * Refuses to be open to the network without authentication.
 * @throws PlasmawatchError PW_LISTEN
 */
export function checkExposure(
  { listen, tls, fleet }: CollectorConfig,
  tokens: {
    readonly agentToken?: string | undefined;
    readonly apiTokens?: readonly ApiToken[] | undefined;
  },
): void {
  if (isLoopbackHost(listen.host)) return;
  const missing = [
    tokens.agentToken === undefined && !fleet.enrolledOnly && tls?.clientCa === undefined
      ? 'an agent token (agentTokenFile), keys (fleet.enrolledOnly) or certificates (tls.clientCa)'
      : '',
    (tokens.apiTokens ?? []).length === 0 ? 'an API token (apiTokenFile)' : '',
  ].filter((text) => text !== '');
  if (missing.length === 0) return;
  throw new PlasmawatchError(
    'PW_LISTEN',
    `will not listen on ${listen.host}, beyond this machine, without ${missing.join(' and ')}; or listen on 127.0.0.1`,
    { operation: 'listen', subject: listen.host },
  );
}
