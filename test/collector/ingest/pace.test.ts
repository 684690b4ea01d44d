import { describe, expect, it } from 'vitest';
import { Pace, WorkShares } from '../../../collector/ingest/pace.ts';
import { createCollectorMetrics } from '../../../collector/metrics.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/** A session whose socket is a switch. */
function openPace({ clock = new FakeClock(), work = new WorkShares(clock.now()), agent = 'w1' } = {}) {
  const socket = {
    isPaused: false,
    pause: () => (socket.isPaused = true),
    resume: () => (socket.isPaused = false),
  };
  const metrics = createCollectorMetrics();
  const limits = { messagesPerSecond: 1000, bytesPerSecond: 1e9 };
  const pace = new Pace({ socket, clock, metrics, limits, work });
  pace.belongTo(agent);
  return { clock, socket, metrics, pace };
}

/** Reads messages, each of which takes so long to handle, for as long as the socket is open. */
function readFor(totalMs: number, workMs: number) {
  const { clock, socket, pace } = openPace();
  const endMs = clock.now() + totalMs;
  let workedMs = 0;
  while (clock.now() < endMs) {
    if (socket.isPaused) {
      clock.advance(1);
      continue;
    }
    expect(pace.note(100)).toBe(true);
    clock.advance(workMs);
    pace.noteWork(workMs);
    workedMs += workMs;
  }
  pace.end();
  return workedMs / totalMs;
}

describe('the time that one agent may take of the collector', () => {
  it.each([1, 50, 500])('is a quarter in the long run, with messages that take %i ms', (workMs) => {
    const share = readFor(60_000, workMs);
    expect(share).toBeGreaterThan(0.2);
    expect(share).toBeLessThan(0.3);
  });

  it('is no more for one that connects again and again', () => {
    const clock = new FakeClock();
    const work = new WorkShares(clock.now());
    const [startMs, durationMs] = [clock.now(), 60_000];
    let workedMs = 0;
    while (clock.now() < startMs + durationMs) {
      const { pace, socket } = openPace({ clock, work });
      pace.noteWork(0);
      while (!socket.isPaused) {
        clock.advance(100);
        pace.noteWork(100);
        workedMs += 100;
      }
      pace.end();
      clock.advance(10);
    }
    expect(workedMs / durationMs).toBeLessThan(0.3);
  });

  it('leaves a part for those that have little to say, however many take all they may', () => {
    const clock = new FakeClock();
    const work = new WorkShares(clock.now());
    const agents = Array.from({ length: 30 }, (_, number) =>
      openPace({ clock, work, agent: `evil-${number}` }),
    );
    const run = (durationMs: number): number => {
      const endMs = clock.now() + durationMs;
      let workedMs = 0;
      while (clock.now() < endMs) {
        const read = agents.filter(({ socket }) => !socket.isPaused);
        for (const { pace } of read) {
          clock.advance(100);
          pace.noteWork(100);
          workedMs += 100;
        }
        if (read.length === 0) clock.advance(1);
      }
      return workedMs / durationMs;
    };
    run(60_000);
    expect(run(60_000)).toBeLessThan(0.85);
    for (const { pace } of agents) pace.end();
  });

  it('is no reason to cut it off: a slow disk is not its fault', () => {
    const { clock, socket, pace, metrics } = openPace();
    for (let index = 0; index < 100; index++) {
      pace.noteWork(60_000);
      expect(pace.note(100)).toBe(true);
    }
    expect(socket.isPaused).toBe(true);
    pace.end();
    expect(clock.pending).toBe(0);
    return expect(metrics.sessionsSlowed.get()).resolves.toMatchObject({ values: [{ value: 1 }] });
  });

  it('is not measured by a clock that is set back', () => {
    const { socket, pace } = openPace();
    for (let index = 0; index < 100; index++) pace.noteWork(-1e9);
    expect(socket.isPaused).toBe(false);
    pace.end();
  });
});
