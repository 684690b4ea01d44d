/** Where an installation has its files: the units, the documentation and the defaults of the settings agree on these. */
export const PATHS = {
  agentConfig: '/etc/plasmawatch/agent.yaml',
  collectorConfig: '/etc/plasmawatch/collector.yaml',
  /** The agent's state besides the spool: its key, the rules of the collector, the known members. */
  agentState: '/var/lib/plasmawatch/agent',
  spool: '/var/lib/plasmawatch/agent/spool.db',
  collectorState: '/var/lib/plasmawatch/collector',
  store: '/var/lib/plasmawatch/collector/collector.db',
} as const;
