/** The tables of the SQLite store. A step that has shipped is never changed: a new one is added. */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE agents (
    name TEXT PRIMARY KEY,
    epoch TEXT NOT NULL,
    version TEXT NOT NULL,
    capture TEXT NOT NULL,
    first_seen_ms INTEGER NOT NULL,
    last_seen_ms INTEGER NOT NULL,
    counters TEXT
  ) STRICT;

  -- What is known of an agent's spools: also after retention has removed their reports.
  CREATE TABLE epochs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL,
    epoch TEXT NOT NULL,
    last_sequence INTEGER NOT NULL DEFAULT 0,
    removed_sequence INTEGER NOT NULL DEFAULT -1,
    UNIQUE (agent, epoch)
  ) STRICT;

  CREATE TABLE reports (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL,
    epoch TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    report TEXT NOT NULL,
    UNIQUE (agent, epoch, sequence)
  ) STRICT;

  CREATE TABLE incidents (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    fingerprint TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'acknowledged', 'silenced', 'resolved')),
    last_report_ms INTEGER NOT NULL,
    incident TEXT NOT NULL
  ) STRICT;
  CREATE UNIQUE INDEX incidents_unresolved ON incidents (fingerprint) WHERE state <> 'resolved';
  CREATE INDEX incidents_by_state ON incidents (state, number);

  CREATE TABLE members (
    incident INTEGER NOT NULL REFERENCES incidents (number) ON DELETE CASCADE,
    agent TEXT NOT NULL,
    anomaly_id TEXT NOT NULL,
    node TEXT NOT NULL,
    base_count INTEGER NOT NULL,
    base_bytes INTEGER NOT NULL,
    latest TEXT NOT NULL,
    PRIMARY KEY (agent, anomaly_id, incident)
  ) STRICT;
  CREATE INDEX members_by_incident ON members (incident, node);

  CREATE TABLE outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    receiver TEXT NOT NULL,
    type TEXT NOT NULL,
    incident INTEGER NOT NULL,
    snapshot TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_ms INTEGER NOT NULL DEFAULT 0,
    reason TEXT
  ) STRICT;
  CREATE INDEX outbox_pending ON outbox (receiver, number) WHERE state = 'pending';
  CREATE INDEX outbox_by_incident ON outbox (incident, number);

  CREATE TABLE cursors (name TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT;
  `,
  `
  -- Whether the anomaly said that it is over.
  ALTER TABLE members ADD COLUMN ended INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX members_ongoing ON members (agent) WHERE ended = 0;

  -- When the agent said goodbye, and when a person declared it gone for good.
  ALTER TABLE agents ADD COLUMN stopped_ms INTEGER;
  ALTER TABLE agents ADD COLUMN retired_ms INTEGER;
  `,
  `
  -- Evidence is found by its anomaly; it goes with the reports that it is one of.
  CREATE INDEX reports_evidence ON reports (agent, json_extract(report, '$.anomaly'))
    WHERE json_extract(report, '$.type') = 'evidence';
  `,
];
