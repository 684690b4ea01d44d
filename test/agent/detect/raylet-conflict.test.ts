import { beforeEach, describe, expect, it } from 'vitest';
import { RayletConflictDetector, type ConflictingRaylet } from '../../../agent/detect/raylet-conflict.ts';
import type { Anomaly } from '../../../common/event.ts';

const OURS = raylet(6316, 1000, '/opt/ray/core/src/ray/raylet/raylet', true);
const IMPOSTOR = raylet(7, 65_534, '/tmp/x/ray/core/src/ray/raylet/raylet', false);

let reports: Anomaly[];
let detector: RayletConflictDetector;

beforeEach(() => {
  reports = [];
  let ids = 0;
  detector = new RayletConflictDetector({
    node: 'w1',
    createId: () => `id-${++ids}`,
    report: (anomaly) => reports.push(anomaly),
    userName: (userId) => Promise.resolve(userId === 65_534 ? 'nobody' : undefined),
  });
});

function raylet(pid: number, userId: number, executable: string, isProven: boolean): ConflictingRaylet {
  return { pid, userId, executable, isProven };
}

describe('RayletConflictDetector', () => {
  it('reports raylets of two users with pid, user and file, and its end', async () => {
    await detector.observe([OURS], 0);
    expect(reports).toEqual([]);
    await detector.observe([OURS, IMPOSTOR], 1000);
    expect(reports[0]).toMatchObject({ kind: 'raylet-conflict', severity: 'warning', node: 'w1' });
    expect(reports[0]?.message).toBe(
      '2 users run a raylet on w1: process 6316 of user 1000, /opt/ray/core/src/ray/raylet/raylet, proven; ' +
        'process 7 of user nobody (65534), /tmp/x/ray/core/src/ray/raylet/raylet, not proven',
    );
    await detector.observe([OURS], 2000);
    expect(reports[1]).toMatchObject({ id: reports[0]?.id, ended: true });
    await detector.observe([OURS, IMPOSTOR], 3000);
    expect(reports[2]?.id).not.toBe(reports[0]?.id);
  });

  it('is none where one user has several', async () => {
    await detector.observe([OURS, { ...OURS, pid: 700 }], 0);
    expect(reports).toEqual([]);
  });

  it('reports once a minute while it lasts, however often the programs change', async () => {
    for (let second = 0; second < 120; second++)
      await detector.observe([OURS, { ...IMPOSTOR, pid: 100 + second }], second * 1000);
    expect(reports).toHaveLength(2);
    expect(new Set(reports.map(({ id }) => id)).size).toBe(1);
  });

  it('names each user before a second program of any, on one line', async () => {
    const many = Array.from({ length: 1000 }, (_, pid) => ({
      ...IMPOSTOR,
      pid,
      executable: `/a\n${'b'.repeat(5000)}`,
    }));
    await detector.observe([...many, OURS], 0);
    expect(reports[0]?.message).toContain('process 6316 of user 1000');
    expect(reports[0]?.message).toContain('996 more');
    expect(reports[0]?.message).not.toContain('\n');
  });
});
