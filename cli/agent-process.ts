/** An agent on this machine: settings, rules, spool, packets and the way to the collector, put together. */
import { randomUUID } from 'node:crypto';
import { WebSocket } from 'ws';
import { openMembersFile } from '../agent/members-file.ts';
import { Agent } from '../agent/agent.ts';
import { openLiveSource } from '../agent/capture/live.ts';
import { loadLibc, type Libc } from '../agent/capture/linux/libc.ts';
import { readTunnelInterfaces, type TunnelInterface } from '../agent/capture/linux/tunnel-interfaces.ts';
import type { PacketSource, PortSet } from '../agent/capture/source.ts';
import type { AgentConfig } from '../agent/config.ts';
import { SharedMembers } from '../agent/membership/shared.ts';
import { OwnSockets } from '../agent/process/own-sockets.ts';
import { openSocketList, readActiveOpens } from '../agent/process/socket-list.ts';
import { SocketOwners } from '../agent/process/socket-owners.ts';
import { SocketRoles } from '../agent/process/socket-roles.ts';
import { isListenedAt, listeningUsers } from '../agent/process/socket-table.ts';
import { UserNames } from '../agent/process/user-names.ts';
import { httpGet } from '../agent/ray/http-get.ts';
import { LocalProcesses } from '../agent/ray/local-processes.ts';
import { OtherProcesses } from '../agent/ray/other-processes.ts';
import { isOfRay, rayletAbove } from '../agent/ray/ray-process.ts';
import { findRaylets, rayletAt, type Raylet } from '../agent/ray/raylet.ts';
import { rememberRaylets } from '../agent/ray/recent-raylets.ts';
import { RayletSockets } from '../agent/ray/sockets.ts';
import { AgentKey } from '../agent/uplink/agent-key.ts';
import { createUplink } from '../agent/uplink/client.ts';
import { resolveEndpoint } from '../agent/uplink/endpoint.ts';
import { openSpool } from '../agent/uplink/spool.ts';
import { systemClock } from '../common/clock.ts';
import { messageOf, PlasmawatchError } from '../common/errors.ts';
import type { Anomaly } from '../common/event.ts';
import type { Logger } from '../common/log.ts';
import { packageVersion } from '../common/package.ts';
import { AgentRules } from './agent-rules.ts';
import type { AgentSecrets } from './agent-secrets.ts';
import type { Terminal } from './command.ts';
import { dnsClient } from './dns.ts';
import { kubernetesOpener } from './kubernetes.ts';
import { rayletTrust } from './raylet-trust.ts';
import { defaultNodeName, localAddresses, localNetworks, resolveHost } from './system.ts';

/** Reports that a spool holds at most, whatever their size. */
const MAX_SPOOLED_REPORTS = 1_000_000;

export interface AgentProcessOptions {
  readonly config: AgentConfig;
  readonly secrets: AgentSecrets;
  /** To be exchanged for a key at the first start. */
  readonly enrolToken?: string | undefined;
  readonly logger: Logger;
  readonly terminal: Terminal;
  /** Called with each anomaly that reached the disk. */
  readonly onAnomaly: (anomaly: Anomaly) => void;
  /** Another source than the network: the recording of the demo. */
  readonly openSource?: (ports: PortSet) => Promise<PacketSource>;
}

export interface AgentProcess {
  readonly agent: Agent;
  /**
   * Takes other secrets and certificates; the next connection to the collector shows them.
   * @throws PlasmawatchError PW_UPLINK when the collector cannot be asked with them; then nothing has changed
   */
  replaceSecrets(secrets: AgentSecrets): void;
  /** Resolves when everything has ended and the spool is closed. */
  stop(): Promise<void>;
}

/**
 * Starts an agent, or answers undefined when its rules are wrong: then the problems have been told.
 * @throws PlasmawatchError when nothing can be captured, or the spool or the collector's address cannot be used
 */
export async function openLiveAgent(options: AgentProcessOptions): Promise<AgentProcess | undefined> {
  const { config, terminal, logger } = options;
  const rules = await AgentRules.open(config, terminal, logger);
  if (rules === undefined) return undefined;
  const node = config.node ?? defaultNodeName();
  const key = await AgentKey.open(config.stateFolder, options.enrolToken);
  let { secrets } = options;
  const spool = await openSpool({
    path: config.spool.path,
    maxBytes: config.spool.maxSize,
    maxReports: MAX_SPOOLED_REPORTS,
  });
  const others = new OtherProcesses();
  const userNames = new UserNames(systemClock);
  const trust = await rayletTrust(config.ray, terminal);
  const raylets = rememberRaylets({
    clock: systemClock,
    logger,
    findRaylets: () => findRaylets({ others, trust }),
  });
  const knownRaylets = (): Promise<readonly Raylet[]> => raylets().catch(() => []);
  const owners = await SocketOwners.open(systemClock, logger);
  const socketList = await openSocketList(logger);
  const rayletSockets = new RayletSockets({
    clock: systemClock,
    raylets,
    list: socketList.list,
    activeOpens: readActiveOpens,
  });
  const processes = new LocalProcesses({
    clock: systemClock,
    owners,
    localAddresses,
    rayletAt: (pid) => rayletAt(pid, { trust }),
    raylets: knownRaylets,
    isOfRay,
    rayletAbove: (pid) => rayletAbove(pid, (parent) => rayletAt(parent, { trust })),
    ownSockets: new OwnSockets({ clock: systemClock, sockDiag: owners.sockDiag }),
  });
  const tunnelInterfaces = await openTunnelInterfaces(logger);
  const sharedMembers = new SharedMembers(systemClock, Math.random, localAddresses);
  let agent: Agent;
  try {
    spool.nameReports(node);
    agent = await Agent.start(
      {
        node,
        ruleset: rules.ruleset,
        maxFlows: config.capture.maxFlows,
        staleAfterMs: config.membership.staleAfter,
        // The network of a recording is not this machine's.
        isRayExpected: config.ray.expected && options.openSource === undefined,
        confirmWithinMs: config.ray.confirmWithin,
        isCapturedEverywhere: config.capture.interface === undefined,
      },
      {
        spool,
        logger,
        clock: systemClock,
        staleAfterMs: config.membership.staleAfter,
        times: {
          graceMs: config.membership.grace,
          lingerMs: config.membership.linger,
          keepMs: config.membership.keep,
          firstListMs: config.membership.firstList,
        },
        isListenedAt: (address, port) => isListenedAt(owners.sockDiag, address, port),
        userName: (userId) => userNames.of(userId),
        membersStore: openMembersFile(config.stateFolder, logger),
        fetch: httpGet,
        resolve: resolveHost,
        lookUpRecords: dnsClient(),
        findRaylets: raylets,
        localAddresses,
        localNetworks,
        listeningUsers,
        sharedMembers,
        get rayToken() {
          return secrets.rayToken;
        },
        openKubernetes: kubernetesOpener(terminal),
        processes,
        socketRoles: new SocketRoles({
          isLocal: (address) => processes.isLocal(address),
          sockDiag: owners.sockDiag,
          clock: systemClock,
        }),
        tunnelInterfaces,
        processCounters: () => owners.counters,
        rayletSockets: () => rayletSockets.opened(),
        createId: randomUUID,
        random: Math.random,
        rulesRefused: () => rules.refused,
        onAnomaly: options.onAnomaly,
        openSource:
          options.openSource ?? ((ports, tunnelSeed) => openNetwork(config, ports, tunnelSeed, logger)),
        createUplink: (capture, counters) =>
          createUplink({
            url: config.collector.url,
            get token() {
              return secrets.token;
            },
            get ca() {
              return secrets.ca;
            },
            get certificate() {
              return secrets.certificate;
            },
            key,
            insecure: config.collector.insecure,
            spool,
            identity: { agent: node, version: packageVersion(), capture },
            heartbeat: counters,
            members: sharedMembers,
            rules,
            heartbeatIntervalMs: config.heartbeatInterval,
            clock: systemClock,
            logger,
            random: Math.random,
            connect: (url, socketOptions) => new WebSocket(url, socketOptions),
          }),
      },
    );
  } catch (error) {
    owners.close();
    socketList.close();
    spool.close();
    throw error;
  }
  rules.follow((ruleset) => agent.setRules(ruleset));
  return {
    agent,
    replaceSecrets(changed) {
      const { url, insecure } = config.collector;
      resolveEndpoint({ ...changed, url, insecure });
      secrets = changed;
      if (changed.rulesKey !== undefined) rules.replaceKey(changed.rulesKey);
    },
    async stop() {
      await rules.close();
      await agent.stop();
      owners.close();
      socketList.close();
      spool.close();
    },
  };
}

/** Reads which tunnels end here; without the C library none is known, and each is kept apart from plain traffic. */
async function openTunnelInterfaces(logger: Logger): Promise<() => readonly TunnelInterface[]> {
  let libc: Libc;
  try {
    libc = await loadLibc();
  } catch (error) {
    if (!(error instanceof PlasmawatchError)) throw error;
    logger.info({ reason: messageOf(error) }, 'tunnel interfaces cannot be read');
    return () => [];
  }
  let known: readonly TunnelInterface[] = [];
  return () => {
    try {
      known = readTunnelInterfaces(libc);
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, 'tunnel interfaces cannot be read');
    }
    return known;
  };
}

async function openNetwork(
  { capture }: AgentConfig,
  ports: PortSet,
  tunnelSeed: number,
  logger: Logger,
): Promise<PacketSource> {
  const { source, passedOver } = await openLiveSource({
    ports,
    tunnelSeed,
    interface: capture.interface,
    prefer: capture.way === 'auto' ? undefined : capture.way,
    clock: systemClock,
    logger,
  });
  for (const { name, reason } of passedOver)
    logger.warn({ way: name, reason }, 'a better way of capturing is not to be had');
  logger.info({ source: source.name, ports: ports.ranges() }, 'capturing');
  return source;
}
