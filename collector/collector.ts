/** The collector: joins ingest, store, incidents, notifications, export and API. No logic of its own. */
import type { AddressInfo } from 'node:net';
import { isLoopbackHost } from '../common/address.ts';
import type { Clock } from '../common/clock.ts';
import { messageOf, PlasmawatchError, systemCodeOf } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import { addAgentRoutes } from './api/agents.ts';
import { addMembersRoutes } from './api/members.ts';
import { addRoutes } from './api/routes.ts';
import { createServer, listen, replaceCertificate } from './api/server.ts';
import type { CollectorConfig } from './config.ts';
import { Connections } from './edge/connections.ts';
import { Refusals } from './edge/refusals.ts';
import { RequestLimits } from './edge/request-limits.ts';
import { trustedProxies } from './edge/source.ts';
import { INFLUX_CURSOR, InfluxExporter } from './export/influx.ts';
import { AgentClocks } from './fleet/agent-clocks.ts';
import { DeadMan } from './fleet/dead-man.ts';
import { Enrolments } from './fleet/enrolments.ts';
import { LimitWatch } from './fleet/limit-watch.ts';
import { OwnStories } from './fleet/own-stories.ts';
import { RulesDistributor } from './fleet/rules-distributor.ts';
import { Roster } from './fleet/roster.ts';
import { FleetWatch } from './fleet/watch.ts';
import { Announcer } from './incident/announcer.ts';
import { inhibition } from './incident/inhibition.ts';
import { firstReason } from './incident/muting.ts';
import { Recorder } from './incident/recorder.ts';
import { Silences } from './incident/silences.ts';
import type { IncidentEvent } from './incident/tally.ts';
import { Ingest } from './ingest/ingest.ts';
import { Intake } from './ingest/intake.ts';
import { LiveSettings } from './live-settings.ts';
import { SharedViews } from './membership/shared-views.ts';
import { createCollectorMetrics, type CollectorMetrics } from './metrics.ts';
import { Dispatcher } from './notify/dispatcher.ts';
import type { Outside } from './notify/notifier-factory.ts';
import type { Fetch } from './notify/post.ts';
import type { Sockets } from './notify/sockets.ts';
import type { CollectorSecrets } from './secrets.ts';
import { StoreClock } from './store-clock.ts';
import { StoreHealth } from './store/health.ts';
import { Retention } from './store/retention.ts';
import { openSqliteStore } from './store/sqlite.ts';

const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;
const NO_SERVICES: ReadonlySet<string> = new Set();

export interface CollectorOptions {
  readonly config: CollectorConfig;
  readonly secrets: CollectorSecrets;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly fetch: Fetch;
  /** For receivers of mail and syslog. */
  readonly sockets?: Sockets | undefined;
  /** For a receiver of type `stdout`. */
  readonly stdout?: NodeJS.WritableStream | undefined;
  /** This machine's name, as syslog messages tell it. */
  readonly hostname?: string | undefined;
  /** From 0 to 1, 1 excluded; for jitter. */
  readonly random: () => number;
  /** Called when something happened to an incident, after that is on the disk. Must not throw. */
  readonly onIncident?: (event: IncidentEvent) => void;
}

export interface Collector {
  /**
   * Listens and begins to deliver what an earlier run left.
   * @returns where: `http://127.0.0.1:9440`; agents take `ws` for `http`
   * @throws PlasmawatchError PW_LISTEN, and then the collector is stopped
   */
  start(): Promise<{ url: string }>;
  /** What the collector does now, in a few words; and why it does not do its work, where a new start may help. */
  state(): { readonly status: string; readonly fault: string | undefined };
  /**
   * Takes over changed secrets, and those of `RELOADABLE` among the settings. Nobody is disconnected: connections that are open
   * stay as they were admitted.
   * @param config differs from that of the start in nothing else
   * @throws PlasmawatchError when something of it is wrong; then nothing has changed
   */
  reconfigure(config: CollectorConfig, secrets: CollectorSecrets): Promise<void>;
  /** Resolves when everything that was started has ended. Safe to call twice, and without `start`. */
  stop(): Promise<void>;
}

/**
 * Opens the store and puts the parts together; nothing runs yet.
 * @throws PlasmawatchError PW_LISTEN when it would be open to the network without tokens; PW_STORE;
 *   PW_DISK_FULL; PW_SECRET
 */
export async function createCollector(options: CollectorOptions): Promise<Collector> {
  const { config, secrets, logger, random, onIncident } = options;
  warnOfClearText(options);
  const metrics = createCollectorMetrics();
  const live = new LiveSettings(config, secrets, outsideOf(options, metrics));
  const refusals = new Refusals({
    clock: options.clock,
    logger: logger.child({ component: 'edge' }),
    metrics,
  });
  const isTrustedProxy = trustedProxies(config.trustedProxies);
  const server = createServer({
    isTrustedProxy,
    tls: secrets.tls,
    listenHost: config.listen.host,
    get allowedHosts() {
      return live.config.listen.allowedHosts;
    },
    get tokens() {
      return live.apiTokens;
    },
    logger: logger.child({ component: 'api' }),
    refusals,
    requestLimits: new RequestLimits({ clock: options.clock, ...config.limits }),
  });
  const connections = new Connections({
    server: server.server,
    clock: options.clock,
    metrics,
    refusals,
    limits: config.limits,
    isTrustedProxy,
  });
  server.addHook('onRequest', (request, _reply, done) => {
    if (request.actor !== '') connections.renew(request.raw.socket);
    done();
  });
  const store = await openSqliteStore(config.store.path);
  const health = new StoreHealth({
    store,
    clock: options.clock,
    logger: logger.child({ component: 'store' }),
    metrics,
  });
  const { guard } = health;
  const storeClock = new StoreClock({
    clock: options.clock,
    store,
    guard,
    logger: logger.child({ component: 'clock' }),
    metrics,
    shifted: () => {
      stories.load();
      silences.reload();
      dispatcher.wake();
    },
    resumed: () => {
      recorder.resume();
      fleet.resume();
    },
  });
  const { clock, compare: compareClocks } = storeClock;
  server.addHook('onRequest', (_request, _reply, done) => {
    compareClocks();
    done();
  });
  const notifyLogger = logger.child({ component: 'notify' });
  const giveUpMs = config.notify.giveUpDays * DAY_MS;
  const dispatcher = new Dispatcher({
    store,
    guard,
    clock,
    logger: notifyLogger,
    metrics,
    notifiers: live.notifiers,
    random,
    giveUpMs,
    compareClocks,
  });
  const silences = new Silences({ store, clock, metrics });
  const mutedBy = firstReason([
    (incident, nowMs) => silences.mutedBy(incident, nowMs),
    live.mutedByTime,
    inhibition(store),
  ]);
  const announcer = new Announcer({
    store,
    guard,
    clock,
    metrics,
    get timing() {
      return live.timing;
    },
    get messagesPerHour() {
      return live.config.incidents.messagesPerHour;
    },
    get receivers() {
      return [...live.notifiers.keys()];
    },
    receiversOf: live.receiversOf,
    mutedBy,
    onWritten: () => dispatcher.wake(),
  });
  const quietMs = config.incidents.quietMinutes * MINUTE_MS;
  const clocks = new AgentClocks({ clock, metrics, maxSkewMs: config.fleet.maxClockSkew });
  const rules =
    config.rules === undefined || secrets.rulesKey === undefined
      ? undefined
      : new RulesDistributor({
          path: config.rules.path,
          key: secrets.rulesKey,
          store,
          guard,
          clock,
          logger: logger.child({ component: 'rules' }),
          metrics,
        });
  const intake = new Intake({
    clock,
    metrics,
    inOurTime: (agent, anomaly) => clocks.inOurTime(agent, anomaly),
    maxSkewMs: config.fleet.maxClockSkew,
    services: config.fleet.services,
    distributedServices: () => rules?.services ?? NO_SERVICES,
  });
  const recorder = new Recorder({
    store,
    guard,
    clock,
    metrics,
    announcer,
    limits: {
      maxUnresolved: config.incidents.maxUnresolved,
      reopenWithinMs: config.incidents.reopenWithin,
      burstSubjects: config.incidents.burstSubjects,
      burstWithinMs: config.incidents.burstWithin,
      scanStories: config.incidents.scanServices,
    },
    quietMs,
    toStore: (agent, report) => intake.toStore(agent, report),
    inOurTime: (agent, anomaly) => intake.toGroup(agent, anomaly),
    maxQuietMs: config.incidents.maxQuiet,
    compareClocks,
    onCommit: (events) => {
      if (onIncident !== undefined) for (const event of events) onIncident(event);
    },
  });
  const stories = new OwnStories({ store, recorder, clock, quietMs });
  const ownLimits = new LimitWatch({ stories, guard, clock });
  const fleet = new FleetWatch({
    store,
    guard,
    stories,
    clock,
    missingAfterMs: config.fleet.missingAfter,
    stoppedAfterMs: config.fleet.stoppedAfter,
  });
  const deadMan =
    secrets.deadManUrl === undefined
      ? undefined
      : new DeadMan({
          url: secrets.deadManUrl,
          intervalMs: config.deadMan.interval,
          store,
          guard,
          isDispatching: () => dispatcher.isTurning(),
          clock,
          fetch: options.fetch,
          logger: logger.child({ component: 'dead-man' }),
          metrics,
        });
  const exporter =
    config.influx === undefined
      ? undefined
      : new InfluxExporter({
          target: { ...config.influx, password: secrets.influxPassword },
          store,
          guard,
          clock,
          logger: logger.child({ component: 'influx' }),
          metrics,
          random,
        });
  const retention = new Retention({
    store,
    guard,
    clock,
    metrics,
    ownLimits,
    keepMs: config.store.keepDays * DAY_MS,
    maxReports: config.store.maxReports,
    maxBytes: config.store.maxSize,
    keepAuditMs: config.store.keepAuditDays * DAY_MS,
    exporter: exporter === undefined ? undefined : INFLUX_CURSOR,
  });
  const sharedViews = new SharedViews({
    clock,
    metrics,
    logger: logger.child({ component: 'members' }),
    isUnknownPeer: (address) => store.hasUnresolvedPeer(address),
    reporters: config.membership.reporters.map((named) =>
      typeof named === 'string' ? { agent: named } : named,
    ),
  });
  const enrolments = new Enrolments({
    store,
    clock,
    get token() {
      return live.secrets.agentToken;
    },
    enrolledOnly: config.fleet.enrolledOnly,
    tokenLifeMs: config.fleet.enrolmentTokenLife,
    maxAgents: config.limits.maxAgents,
  });
  const ingest = new Ingest({
    server: server.server,
    connections,
    isTrustedProxy,
    refusals,
    store,
    guard,
    recorder,
    fleet,
    ownLimits,
    sharedViews,
    clocks,
    rules,
    clock,
    compareClocks,
    logger: logger.child({ component: 'ingest' }),
    metrics,
    enrolments,
    needsCertificate: secrets.tls?.clientCa !== undefined,
    limits: config.limits,
  });
  addRoutes(server, { store, health, recorder, silences, mutedBy, clock, metrics, clocks });
  const roster = new Roster({ store, fleet, clocks, connectedAgents: () => ingest.connectedAgents() });
  addAgentRoutes(server, { roster, fleet, enrolments, disconnect: (agent) => ingest.disconnect(agent) });
  addMembersRoutes(server, { sharedViews, clock });

  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    await ingest.stop();
    await server.close();
    fleet.stop();
    ownLimits.stop();
    sharedViews.stop();
    recorder.stop();
    announcer.stop();
    retention.stop();
    await rules?.stop();
    await deadMan?.stop();
    await dispatcher.stop();
    await exporter?.stop();
    storeClock.stop();
    health.stop();
    store.close();
  };
  return {
    async start() {
      const { host, port } = config.listen;
      try {
        await listen(server, host.toLowerCase() === 'localhost' ? '127.0.0.1' : host, port);
      } catch (error) {
        stopped ??= stop();
        await stopped;
        throw listenError(host, port, error);
      }
      storeClock.start();
      recorder.start();
      announcer.start();
      fleet.start();
      ownLimits.start();
      retention.start();
      dispatcher.start();
      exporter?.start();
      rules?.start();
      deadMan?.start();
      return { url: urlOf(server.server.address() as AddressInfo, secrets.tls !== undefined) };
    },
    async reconfigure(changed, changedSecrets) {
      live.replace(changed, changedSecrets);
      const { tls } = live.secrets;
      if (tls !== undefined) replaceCertificate(server, tls);
      const { rulesKey, deadManUrl, influxPassword } = live.secrets;
      if (rulesKey !== undefined) rules?.replaceKey(rulesKey);
      if (deadManUrl !== undefined) deadMan?.replaceUrl(deadManUrl);
      exporter?.replacePassword(influxPassword);
      announcer.receiversChanged();
      await dispatcher.replaceNotifiers(live.notifiers);
    },
    state() {
      const agents = ingest.connectedAgents().size;
      let unresolved: number | undefined;
      guard(() => (unresolved = store.unresolvedCount()));
      return {
        status: [
          `${agents} ${agents === 1 ? 'agent' : 'agents'} connected`,
          unresolved === undefined ? 'the store cannot be read' : `${unresolved} unresolved incidents`,
        ].join(', '),
        fault: dispatcher.isTurning() ? undefined : 'the delivery of notifications hangs',
      };
    },
    async stop() {
      stopped ??= stop();
      await stopped;
    },
  };
}

function warnOfClearText({ config, secrets, logger }: CollectorOptions): void {
  const { host } = config.listen;
  if (secrets.tls !== undefined || isLoopbackHost(host)) return;
  logger.warn(
    { host },
    'tokens and reports cross the network in clear: set tls, or put a proxy with TLS in front (trustedProxies)',
  );
}

function outsideOf(options: CollectorOptions, metrics: CollectorMetrics): Outside {
  return {
    ...options,
    onTemplateFailure: (receiver) => metrics.notificationTemplateFailures.inc({ receiver }),
  };
}

function listenError(host: string, port: number, error: unknown): PlasmawatchError {
  const faults: Record<string, string> = {
    EADDRINUSE: 'the port is in use',
    EADDRNOTAVAIL: 'this machine has no such address',
    EACCES: 'ports below 1024 need a privilege; choose a higher one',
    ENOTFOUND: 'there is no such host',
  };
  const reason = faults[systemCodeOf(error) ?? ''] ?? messageOf(error);
  return new PlasmawatchError('PW_LISTEN', `cannot listen on ${host} port ${port}: ${reason}`, {
    operation: 'listen',
    subject: `${host}:${port}`,
    cause: error,
  });
}

function urlOf({ address, port, family }: AddressInfo, isTls: boolean): string {
  const host = family === 'IPv6' ? `[${address}]` : address;
  return `${isTls ? 'https' : 'http'}://${host}:${port}`;
}
