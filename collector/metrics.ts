/**
 * Every counter of the collector: its name and what it means. Labels have few values, all of them ours or from the
 * configuration; addresses, ports and agents are never labels.
 */
import { Counter, Gauge, Registry } from 'prom-client';

export type CollectorMetrics = ReturnType<typeof createCollectorMetrics>;

/** Counters of one collector, in a registry of its own. */
export function createCollectorMetrics() {
  const registry = new Registry();
  const counter = <Label extends string>(name: string, help: string, labelNames: Label[] = []) =>
    new Counter({ name: `plasmawatch_${name}`, help, labelNames, registers: [registry] });
  const gauge = <Label extends string>(name: string, help: string, labelNames: Label[] = []) =>
    new Gauge({ name: `plasmawatch_${name}`, help, labelNames, registers: [registry] });
  return {
    registry,
    agentsConnected: gauge('agents_connected', 'Agents with an open session.'),
    clockOffsetMax: gauge(
      'agents_clock_offset_max_seconds',
      "How far the clock of a connected agent is from the collector's, at most, in seconds.",
    ),
    clocksWrong: gauge(
      'agents_clock_wrong',
      'Connected agents whose clock is so far off that the times of incidents are corrected.',
    ),
    clockWrong: gauge(
      'clock_wrong',
      "Whether the collector's own clock seems wrong, now: most connected agents agree on another time; 1 or 0.",
    ),
    clockSteps: counter('clock_steps_total', "Times that the collector's wall clock was set while it ran."),
    pauses: counter(
      'pauses_total',
      'Times that the collector did not run for some seconds: stopped or suspended.',
    ),
    portsGuessed: gauge(
      'agents_port_unconfirmed',
      'Connected agents that watch their node at an object-manager port that nobody has confirmed.',
    ),
    rulesVersion: gauge('rules_version', 'Version of the rules that are handed out to agents; 0 for none.'),
    rulesBehind: gauge(
      'rules_agents_behind',
      'Connected agents that take rules of the collector, and run others than the latest.',
    ),
    rulesSent: counter('rules_sent_total', 'Copies of the rules sent to agents.'),
    rulesRefused: counter(
      'rules_refused_total',
      'Changes of the rules not handed out, because they are wrong.',
    ),
    visitors: gauge('visitors', 'Connections that are not those of agents, now.'),
    members: gauge('members', 'Nodes of the Ray clusters in the views that agents share.'),
    membersAsOf: gauge(
      'members_oldest_view_timestamp_seconds',
      'When the source said so of the view that is oldest now, in seconds since the epoch; 0 without views.',
    ),
    reports: counter('reports_total', 'Reports stored, by type (anomaly, flow-report).', ['type']),
    reportsRepeated: counter('reports_repeated_total', 'Reports that were stored before, and ignored.'),
    peersRefused: counter(
      'peers_refused_total',
      'Connections and requests that were refused or ended for what the peer did, by reason.',
      ['reason'],
    ),
    sessionsSlowed: counter(
      'sessions_slowed_total',
      'Times that an agent was not read for a while, because it sent more than limits allow or took too much time.',
    ),
    incidentsUnresolved: gauge('incidents_unresolved', 'Incidents that are open or acknowledged.'),
    silencesActive: gauge('silences_active', 'Silences that silence something now.'),
    silencesTurnedAway: counter(
      'silences_turned_away_total',
      'Silences not added, because there were too many already.',
    ),
    incidents: counter(
      'incidents_total',
      'Incidents, by what happened (opened, escalated, reopened, merged, resolved).',
      ['event'],
    ),
    anomaliesMerged: counter(
      'anomalies_merged_total',
      'Anomalies that joined the overflow of their agent, because it had too many incidents unresolved.',
    ),
    anomaliesUncounted: counter(
      'anomalies_uncounted_total',
      'Anomalies whose numbers are missing from their incident, because it had too many already.',
    ),
    membersDropped: counter(
      'incident_members_dropped_total',
      'Members that made room for more severe ones in an incident that is full; its numbers keep theirs.',
    ),
    anomaliesStale: counter(
      'anomalies_stale_total',
      'Anomaly reports that told nothing new: late, or overtaken by a later one.',
    ),
    notifications: counter(
      'notifications_total',
      'Notifications by receiver and outcome (delivered, failed; failed ones are never sent again).',
      ['receiver', 'outcome'],
    ),
    notificationAttempts: counter(
      'notification_attempts_total',
      'Attempts to deliver a notification, by receiver and result (delivered, retry, rejected).',
      ['receiver', 'result'],
    ),
    notificationsTurnedAway: counter(
      'notifications_turned_away_total',
      'Notifications held back, because too many waited for the receiver.',
      ['receiver'],
    ),
    notificationsHeldBack: counter(
      'notifications_held_back_total',
      'Notifications held back, because the receiver had too many of that kind about that peer or node in an hour.',
      ['receiver'],
    ),
    notificationsWaiting: gauge('notifications_waiting', 'Notifications that wait for a receiver, now.', [
      'receiver',
    ]),
    notificationsMerged: counter(
      'notifications_merged_total',
      'Notifications that were delivered together with others in one message, because the queue was behind.',
      ['receiver'],
    ),
    notificationTemplateFailures: counter(
      'notification_template_failures_total',
      'Notifications told in plain words, because the template of the receiver failed.',
      ['receiver'],
    ),
    notificationReminders: counter(
      'notification_reminders_total',
      'Messages that tell again what is not resolved, by receiver and result (delivered, retry, rejected).',
      ['receiver', 'result'],
    ),
    deadManPings: counter(
      'dead_man_pings_total',
      'Times the dead-man URL was due, by result (delivered, failed; withheld because this collector was not well).',
      ['result'],
    ),
    removed: counter('removed_total', 'Rows removed for age, number or size, by what they were.', ['what']),
    removedUnresolved: counter(
      'removed_unresolved_total',
      'Reports and evidence of unresolved incidents among the rows removed.',
    ),
    storeBytes: gauge('store_bytes', 'Bytes of the store that are in use, indexes included, now.'),
    evidenceRefused: counter(
      'evidence_refused_total',
      'Evidence acknowledged and not stored, by reason (repeated, or unknown: the agent has no such anomaly in an incident).',
      ['reason'],
    ),
    timesCorrected: counter(
      'times_corrected_total',
      'Reports in which a time was corrected: too long ago, in the future, or an end before its start.',
    ),
    servicesUnknown: counter(
      'services_unknown_total',
      'Reports whose service neither Ray nor `rules` nor `fleet.services` knows; stored as `other`.',
    ),
    exportedPoints: counter('influx_points_total', 'Points that InfluxDB accepted.'),
    exportWaiting: gauge('influx_waiting', 'Reports in the store that wait for InfluxDB, now.'),
    exportFailures: counter('influx_failures_total', 'Writes to InfluxDB that failed and were tried again.'),
    exportRejected: counter(
      'influx_points_rejected_total',
      'Points of batches that InfluxDB refused in part.',
    ),
    exportLost: counter('influx_reports_lost_total', 'Reports removed before InfluxDB had them.'),
    storeFailures: counter('store_failures_total', 'Operations that the store could not do.'),
    storeRefusing: gauge(
      'store_refusing',
      'Whether the store refuses writes (a full or broken disk), now: 1 or 0.',
    ),
  };
}
