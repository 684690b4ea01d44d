/** Who reads the wall clock, and what for: it can be set at any time, and no wait, interval or age may hang on it. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packagePath } from '../common/package.ts';

const FOLDERS = ['agent', 'cli', 'collector', 'common', 'rules'];

/** What each file reads it for. */
const READERS: Readonly<Record<string, string>> = {
  'agent/capture/libpcap-child.ts': 'stamps packets, as the kernel does',
  'agent/capture/linux/flow-reader.ts': 'stamps counts, as the kernel stamps packets',
  'agent/agent.ts': 'age of the lists that were kept over a restart',
  'agent/capture/packet-time.ts': 'translates stamps of packets to the monotonic clock',
  'agent/uplink/session.ts': 'tells the collector what time it is here',
  'cli/collector-client.ts': 'age of times, where the collector does not say its own',
  'cli/notify.ts': 'times of a sample',
  'cli/rules.ts': 'rules that hold now, by `until` and `hours`',
  'collector/api/members.ts': 'age of a time that is shown',
  'collector/api/routes.ts': 'silences, which end by the wall clock',
  'collector/api/silences.ts': 'silences, which end by the wall clock',
  'collector/fleet/agent-clocks.ts': 'offsets of the clocks of agents',
  'collector/fleet/dead-man.ts': 'a time in the store, as a proof that it can be written',
  'collector/fleet/enrolments.ts': 'ends of tokens in the store, which are moved with the clock',
  'collector/fleet/limit-watch.ts': 'since when something lasts, for people',
  'collector/fleet/own-stories.ts': 'since when something lasts, for people',
  'collector/fleet/rules-distributor.ts': 'numbers versions of rules',
  'collector/fleet/watch.ts': 'times in the store, which are moved with the clock, and for people',
  'collector/incident/announcer.ts': 'times in the store, which are moved with the clock',
  'collector/incident/recorder.ts': 'times in the store, which are moved with the clock',
  'collector/incident/silences.ts': 'silences, which end by the wall clock',
  'collector/ingest/heartbeats.ts': 'times in the store, which are moved with the clock',
  'collector/ingest/intake.ts': 'times of reports, which agents stamped',
  'collector/ingest/session.ts': 'times in the store, which are moved with the clock',
  'collector/membership/shared-views.ts': 'when a view is of, for people',
  'collector/notify/alertmanager.ts': 'ends of alerts, where the clock of Alertmanager is not known',
  'collector/notify/dispatcher.ts': 'times in the store, which are moved with the clock',
  'collector/notify/pagerduty.ts': 'Retry-After, which may be a date',
  'collector/notify/slack.ts': 'Retry-After, which may be a date',
  'collector/notify/teams.ts': 'Retry-After, which may be a date',
  'collector/notify/webhook.ts': 'signature, and Retry-After, which may be a date',
  'collector/store-clock.ts': 'moves the times in the store',
  'collector/store/health.ts': 'a time in the store, as a proof that it can be written',
  'collector/store/row-age.ts': 'age of rows, which does not grow faster than time passes',
  'common/clock-watch.ts': 'notices when it was set',
  'common/clock.ts': 'is the clock',
  'rules/load.ts': 'rules that have ended, by `until`',
};

function filesThat(read: RegExp): string[] {
  return FOLDERS.flatMap((folder) =>
    readdirSync(packagePath(folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .map((file) => join(folder, file))
      .filter((file) => read.test(readFileSync(packagePath(file), 'utf8'))),
  ).toSorted();
}

describe('the wall clock', () => {
  it('is read by those alone who have a reason for it', () => {
    expect(filesThat(/(?<!performance\.)\bnow\(\)(?! \{)|\bnow: \(\) =>|Date\.now\b/)).toEqual(
      Object.keys(READERS).toSorted(),
    );
  });

  it('is read through a Clock, so that a test can set it', () => {
    const asTheyCome = filesThat(/Date\.now\b|new Date\(\)/);
    expect(asTheyCome).toEqual(['agent/capture/libpcap-child.ts', 'common/clock.ts']);
  });

  it('is asked of SQLite by nobody', () => {
    expect(filesThat(/unixepoch\(|CURRENT_TIMESTAMP|datetime\('now|strftime\([^)]*'now/)).toEqual([]);
  });
});
