import { describe, expect, it } from 'vitest';
import { incidentDetails } from '../../../cli/incidents/answers.ts';
import { writeIncident } from '../../../cli/incidents/view.ts';
import type { Terminal } from '../../../cli/command.ts';

const TIME = '2026-11-23T09:42:12.000000000Z';
const sent = (receiver: string, type: string, state = 'delivered', reason: string | null = null) => ({
  receiver,
  type,
  state,
  attempts: 1,
  reason,
  created: TIME,
});

/** What is written of an incident with these notifications. */
function shown(notifications: readonly object[], deliveries: boolean): string[] {
  const details = incidentDetails.parse({
    incident: {
      id: 'INC-1',
      state: 'resolved',
      severity: 'critical',
      kind: 'scan',
      title: 'Scan',
      nodes: ['w1'],
      nodeCount: 3,
      count: 2,
      bytes: 10,
      first: TIME,
      last: TIME,
      message: 'm',
      mutedBy: null,
      opened: TIME,
      acknowledged: null,
      resolved: TIME,
      resolvedBy: null,
      reopened: null,
      mergedInto: null,
    },
    anomalies: [],
    nextCursor: null,
    notifications,
    actions: [],
  });
  let text = '';
  const stdout = { write: (part: string) => (text += part) } as unknown as NodeJS.WritableStream;
  const terminal = { stdout, env: {} } as unknown as Terminal;
  const timeOf = (time: string) => time.slice(0, 10);
  writeIncident(terminal, details, { wide: false, timeOf, deliveries, evidence: [] });
  return text.split('\n');
}

describe('an incident', () => {
  const notifications = [
    sent('slack', 'opened'),
    sent('mail', 'opened'),
    sent('slack', 'updated'),
    sent('mail', 'updated', 'failed', 'no such host'),
    sent('slack', 'resolved', 'pending'),
  ];

  it('has a line for each receiver, with what it did not get', () => {
    expect(shown(notifications, false).filter((line) => line.startsWith('notified'))).toEqual([
      'notified      slack  delivered: opened, updated; resolved pending',
      'notified      mail   delivered: opened; updated failed (no such host)',
    ]);
  });

  it('has a line for each notification where it is asked for', () => {
    const lines = shown(notifications, true).filter((line) => line.includes('" to '));
    expect(lines).toHaveLength(5);
    expect(lines[3]).toBe('2026-11-23    "updated" to mail: failed: no such host');
  });

  it('says once when it was seen, how many nodes saw it, and that it ended because it was quiet', () => {
    const lines = shown([], false);
    expect(lines).toContain('seen          2026-11-23');
    expect(lines).toContain('seen by       w1 and 2 more');
    expect(lines).toContain('2026-11-23    resolved: quiet');
    expect(lines.some((line) => line.startsWith('Next:'))).toBe(false);
  });
});
