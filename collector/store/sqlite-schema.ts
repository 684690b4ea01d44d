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
  `
  -- What each receiver knows of each incident, and when it is to be told more.
  CREATE TABLE tellings (
    incident INTEGER NOT NULL REFERENCES incidents (number) ON DELETE CASCADE,
    receiver TEXT NOT NULL,
    told TEXT,
    held_back INTEGER NOT NULL,
    held TEXT,
    due_ms INTEGER,
    PRIMARY KEY (incident, receiver)
  ) STRICT;
  CREATE INDEX tellings_due ON tellings (due_ms) WHERE due_ms IS NOT NULL;
  INSERT INTO tellings (incident, receiver, told, held_back)
    SELECT incident, receiver,
      json_object('type', type, 'atMs', created_ms, 'severity', json_extract(snapshot, '$.severity'),
        'nodeCount', json_extract(snapshot, '$.nodeCount'), 'count', json_extract(snapshot, '$.count'),
        'bytes', json_extract(snapshot, '$.bytes')), 0
    FROM outbox WHERE number IN (SELECT MAX(number) FROM outbox GROUP BY incident, receiver)
      AND incident IN (SELECT number FROM incidents WHERE state <> 'resolved');

  ALTER TABLE outbox ADD COLUMN held_back INTEGER NOT NULL DEFAULT 0;
  UPDATE incidents SET incident = json_set(incident, '$.resolvedBy', NULL);
  UPDATE outbox SET snapshot = json_set(snapshot, '$.resolvedBy', NULL);
  `,
  `
  CREATE TABLE silences (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    end_ms INTEGER NOT NULL,
    silence TEXT NOT NULL
  ) STRICT;
  CREATE INDEX silences_by_end ON silences (end_ms);

  CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    details TEXT NOT NULL
  ) STRICT;
  CREATE INDEX audit_by_subject ON audit (subject, number);
  CREATE INDEX audit_by_actor ON audit (actor, number);

  -- What goes on by kind, to find what it mutes.
  CREATE INDEX incidents_going_on ON incidents (json_extract(incident, '$.kind')) WHERE state <> 'resolved';
  `,
  `
  -- Which rules an agent runs, as it says, and which ones were handed out.
  ALTER TABLE agents ADD COLUMN rules TEXT;
  CREATE TABLE rules_versions (
    version INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    since_ms INTEGER NOT NULL
  ) STRICT;
  `,
  `
  -- Which incident tells which story, now and after it was resolved.
  CREATE TABLE stories (
    fingerprint TEXT PRIMARY KEY,
    incident INTEGER NOT NULL REFERENCES incidents (number) ON DELETE CASCADE,
    family TEXT NOT NULL,
    subject TEXT NOT NULL,
    service TEXT,
    began_ms INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX stories_by_incident ON stories (incident, subject);
  CREATE INDEX stories_alike ON stories (family, service, began_ms);
  CREATE INDEX stories_by_subject ON stories (subject, began_ms);
  INSERT INTO stories (fingerprint, incident, family, subject, service, began_ms)
    SELECT fingerprint, number, json_extract(fingerprint, '$[0]'), json_extract(fingerprint, '$[1]'),
      json_extract(fingerprint, '$[2]'), json_extract(incident, '$.openedMs')
    FROM incidents WHERE state <> 'resolved' AND json_valid(fingerprint)
      AND json_extract(fingerprint, '$[1]') IS NOT NULL;

  ALTER TABLE incidents ADD COLUMN quiet_ms INTEGER NOT NULL DEFAULT 900000;
  ALTER TABLE incidents ADD COLUMN merged_into INTEGER;
  CREATE INDEX incidents_absorbed ON incidents (merged_into) WHERE merged_into IS NOT NULL;
  UPDATE incidents SET incident = json_set(incident, '$.breadth', 'story',
    '$.peerCount', json_extract(incident, '$.peer') IS NOT NULL,
    '$.serviceCount', json_extract(incident, '$.service') IS NOT NULL,
    '$.isAlone', json('true'), '$.reopenedMs', NULL, '$.reopenCount', 0, '$.quietMs', 900000, '$.mergedInto', NULL);
  UPDATE outbox SET snapshot = json_set(snapshot, '$.breadth', 'story',
    '$.peerCount', json_extract(snapshot, '$.peer') IS NOT NULL,
    '$.serviceCount', json_extract(snapshot, '$.service') IS NOT NULL,
    '$.isAlone', json('true'), '$.reopenedMs', NULL, '$.reopenCount', 0, '$.quietMs', 900000, '$.mergedInto', NULL);
  UPDATE tellings SET told = json_set(told, '$.breadth', 'story', '$.peerCount', 1) WHERE told IS NOT NULL;

  -- What the flood guard counts: messages of one kind about one subject; null for those that it lets through.
  ALTER TABLE outbox ADD COLUMN topic TEXT;
  CREATE INDEX outbox_by_topic ON outbox (receiver, topic, created_ms) WHERE topic IS NOT NULL;
  `,
  `
  -- Agents with a key of their own; a name stays here when its key is taken back.
  CREATE TABLE enrolments (
    agent TEXT PRIMARY KEY,
    token_digest TEXT UNIQUE,
    expires_ms INTEGER,
    -- The key that the token was exchanged for.
    exchanged_for TEXT,
    key_digest TEXT UNIQUE,
    is_bound INTEGER NOT NULL DEFAULT 0,
    changed_ms INTEGER NOT NULL
  ) STRICT;
  `,
  `
  -- Members in the order of their severity, and how many each node has in an incident.
  ALTER TABLE members ADD COLUMN severity INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE members ADD COLUMN data_bytes INTEGER NOT NULL DEFAULT 0;
  UPDATE members SET data_bytes = coalesce(json_extract(latest, '$.bytes'), 0),
    severity = CASE json_extract(latest, '$.severity') WHEN 'critical' THEN 2 WHEN 'warning' THEN 1 ELSE 0 END;
  CREATE INDEX members_by_severity ON members (incident, severity DESC, data_bytes DESC);
  CREATE INDEX members_of_node ON members (incident, node, severity, data_bytes);
  CREATE INDEX members_going_on ON members (incident) WHERE ended = 0;
  DROP INDEX members_by_incident;

  CREATE TABLE incident_nodes (
    incident INTEGER NOT NULL REFERENCES incidents (number) ON DELETE CASCADE,
    node TEXT NOT NULL,
    members INTEGER NOT NULL,
    PRIMARY KEY (incident, node)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX incident_nodes_by_members ON incident_nodes (incident, members);
  INSERT INTO incident_nodes (incident, node, members)
    SELECT incident, node, COUNT(*) FROM members GROUP BY incident, node;
  CREATE TRIGGER member_joined AFTER INSERT ON members BEGIN
    INSERT INTO incident_nodes (incident, node, members) VALUES (NEW.incident, NEW.node, 1)
      ON CONFLICT (incident, node) DO UPDATE SET members = members + 1;
  END;
  CREATE TRIGGER member_left AFTER DELETE ON members BEGIN
    UPDATE incident_nodes SET members = members - 1 WHERE incident = OLD.incident AND node = OLD.node;
    DELETE FROM incident_nodes WHERE incident = OLD.incident AND node = OLD.node AND members <= 0;
  END;
  CREATE TRIGGER member_moved AFTER UPDATE OF incident, node ON members
    WHEN OLD.incident <> NEW.incident OR OLD.node <> NEW.node BEGIN
    UPDATE incident_nodes SET members = members - 1 WHERE incident = OLD.incident AND node = OLD.node;
    DELETE FROM incident_nodes WHERE incident = OLD.incident AND node = OLD.node AND members <= 0;
    INSERT INTO incident_nodes (incident, node, members) VALUES (NEW.incident, NEW.node, 1)
      ON CONFLICT (incident, node) DO UPDATE SET members = members + 1;
  END;

  -- Who began an activity, and which ones are alike: a burst is counted for each agent.
  ALTER TABLE stories ADD COLUMN agent TEXT NOT NULL DEFAULT '';
  ALTER TABLE stories ADD COLUMN burst TEXT NOT NULL DEFAULT '';
  DROP INDEX stories_alike;
  CREATE INDEX stories_of_agent ON stories (burst, agent, began_ms);
  -- The latest of each agent.
  CREATE TABLE latest_stories (
    burst TEXT NOT NULL,
    agent TEXT NOT NULL,
    incident INTEGER NOT NULL REFERENCES incidents (number) ON DELETE CASCADE,
    began_ms INTEGER NOT NULL,
    PRIMARY KEY (burst, agent)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX latest_stories_by_time ON latest_stories (burst, began_ms);
  CREATE INDEX latest_stories_by_incident ON latest_stories (incident);

  -- Unresolved incidents of the agent that opened them.
  ALTER TABLE incidents ADD COLUMN opened_by TEXT NOT NULL DEFAULT '';
  UPDATE incidents SET opened_by = coalesce(json_extract(incident, '$.nodes[0]'), '');
  CREATE INDEX incidents_by_opener ON incidents (opened_by) WHERE state <> 'resolved';

  UPDATE incidents SET incident = json_set(incident, '$.highlights', json('[]'), '$.tier', 0);
  UPDATE outbox SET snapshot = json_set(snapshot, '$.highlights', json('[]'), '$.tier', 0);

  -- Messages about what one agent alone reports, and which ones make room for others.
  ALTER TABLE outbox ADD COLUMN origin TEXT;
  ALTER TABLE outbox ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX outbox_by_origin ON outbox (receiver, origin, created_ms) WHERE origin IS NOT NULL;
  CREATE INDEX outbox_by_rank ON outbox (receiver, rank, number) WHERE state = 'pending';
  `,
  `
  -- What each report is, so that there is an order in which reports are removed when the store is full (fair-removal.ts).
  -- rank: 0 for a flow report and for an anomaly report that a later one supersedes; else, for the latest report of an
  -- anomaly and its evidence, 2 where the anomaly is critical and 1 where it is not.
  ALTER TABLE reports ADD COLUMN type TEXT NOT NULL DEFAULT 'flow-report';
  ALTER TABLE reports ADD COLUMN anomaly TEXT;
  ALTER TABLE reports ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE reports ADD COLUMN incident INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE reports ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
  UPDATE reports SET bytes = length(CAST(report AS BLOB)), type = json_extract(report, '$.type');
  UPDATE reports SET anomaly = json_extract(report, iif(type = 'anomaly', '$.id', '$.anomaly'))
    WHERE type <> 'flow-report';
  DROP INDEX reports_evidence;
  CREATE UNIQUE INDEX reports_findings ON reports (agent, anomaly, type) WHERE rank > 0;
  UPDATE reports SET rank = iif(json_extract(report, '$.severity') = 'critical', 2, 1)
    WHERE id IN (SELECT MAX(id) FROM reports WHERE type = 'anomaly' GROUP BY agent, anomaly);
  UPDATE reports SET rank = coalesce(
      (SELECT rank FROM reports AS latest WHERE latest.agent = reports.agent AND latest.anomaly = reports.anomaly
         AND latest.type = 'anomaly' AND latest.rank > 0), 1)
    WHERE id IN (SELECT MIN(id) FROM reports WHERE type = 'evidence' GROUP BY agent, anomaly);
  UPDATE reports SET incident = coalesce(
      (SELECT MAX(members.incident) FROM members
       WHERE members.agent = reports.agent AND members.anomaly_id = reports.anomaly), 0)
    WHERE rank > 0;
  CREATE INDEX reports_by_worth ON reports (agent, rank, incident, id, bytes);
  CREATE INDEX members_by_agent ON members (agent, incident);

  -- How much each agent has in the store; kept by the triggers below, so always that of the rows.
  CREATE TABLE shares (
    agent TEXT NOT NULL,
    -- 'plain' (reports of rank 0), 'findings' (of higher rank) or 'members'; 'messages' are nobody's
    part TEXT NOT NULL,
    row_count INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (agent, part)
  ) STRICT, WITHOUT ROWID;
  INSERT INTO shares SELECT agent, iif(rank = 0, 'plain', 'findings'), COUNT(*), SUM(bytes) FROM reports GROUP BY 1, 2;
  INSERT INTO shares SELECT agent, 'members', COUNT(*), SUM(length(CAST(latest AS BLOB))) FROM members GROUP BY 1;
  INSERT INTO shares SELECT '', 'messages', COUNT(*), coalesce(SUM(length(CAST(snapshot AS BLOB))), 0) FROM outbox;

  CREATE TRIGGER reports_inserted AFTER INSERT ON reports BEGIN
    INSERT INTO shares VALUES (NEW.agent, iif(NEW.rank = 0, 'plain', 'findings'), 1, NEW.bytes)
      ON CONFLICT (agent, part) DO UPDATE SET row_count = row_count + 1, bytes = bytes + excluded.bytes;
  END;
  CREATE TRIGGER reports_deleted AFTER DELETE ON reports BEGIN
    UPDATE shares SET row_count = row_count - 1, bytes = bytes - OLD.bytes
      WHERE agent = OLD.agent AND part = iif(OLD.rank = 0, 'plain', 'findings');
  END;
  CREATE TRIGGER reports_superseded AFTER UPDATE OF rank ON reports WHEN OLD.rank > 0 AND NEW.rank = 0 BEGIN
    UPDATE shares SET row_count = row_count - 1, bytes = bytes - OLD.bytes
      WHERE agent = OLD.agent AND part = 'findings';
    INSERT INTO shares VALUES (NEW.agent, 'plain', 1, NEW.bytes)
      ON CONFLICT (agent, part) DO UPDATE SET row_count = row_count + 1, bytes = bytes + excluded.bytes;
  END;
  -- One type at a time: only then is reports_findings searched, and not all reports of the agent.
  CREATE TRIGGER members_inserted AFTER INSERT ON members BEGIN
    INSERT INTO shares VALUES (NEW.agent, 'members', 1, length(CAST(NEW.latest AS BLOB)))
      ON CONFLICT (agent, part) DO UPDATE SET row_count = row_count + 1, bytes = bytes + excluded.bytes;
    UPDATE reports SET incident = NEW.incident
      WHERE agent = NEW.agent AND anomaly = NEW.anomaly_id AND type = 'anomaly' AND rank > 0;
    UPDATE reports SET incident = NEW.incident
      WHERE agent = NEW.agent AND anomaly = NEW.anomaly_id AND type = 'evidence' AND rank > 0;
  END;
  CREATE TRIGGER members_updated AFTER UPDATE OF latest ON members BEGIN
    UPDATE shares SET bytes = bytes + length(CAST(NEW.latest AS BLOB)) - length(CAST(OLD.latest AS BLOB))
      WHERE agent = NEW.agent AND part = 'members';
  END;
  CREATE TRIGGER members_moved AFTER UPDATE OF incident ON members BEGIN
    UPDATE reports SET incident = NEW.incident
      WHERE agent = NEW.agent AND anomaly = NEW.anomaly_id AND type = 'anomaly' AND rank > 0
        AND incident = OLD.incident;
    UPDATE reports SET incident = NEW.incident
      WHERE agent = NEW.agent AND anomaly = NEW.anomaly_id AND type = 'evidence' AND rank > 0
        AND incident = OLD.incident;
  END;
  CREATE TRIGGER members_deleted AFTER DELETE ON members BEGIN
    UPDATE shares SET row_count = row_count - 1, bytes = bytes - length(CAST(OLD.latest AS BLOB))
      WHERE agent = OLD.agent AND part = 'members';
  END;
  CREATE TRIGGER outbox_inserted AFTER INSERT ON outbox BEGIN
    INSERT INTO shares VALUES ('', 'messages', 1, length(CAST(NEW.snapshot AS BLOB)))
      ON CONFLICT (agent, part) DO UPDATE SET row_count = row_count + 1, bytes = bytes + excluded.bytes;
  END;
  CREATE TRIGGER outbox_deleted AFTER DELETE ON outbox BEGIN
    UPDATE shares SET row_count = row_count - 1, bytes = bytes - length(CAST(OLD.snapshot AS BLOB))
      WHERE part = 'messages';
  END;
  `,
  `
  -- When a member got its place in the order of its incident, counted within the incident: so that whoever reads page by
  -- page finds those that moved up meanwhile.
  ALTER TABLE members ADD COLUMN placed INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX members_by_placing ON members (incident, placed);
  `,
];
