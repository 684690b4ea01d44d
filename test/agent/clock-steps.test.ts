/** Every part of the agent that waits, while the wall clock is set or the process is paused: nothing comes of it. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { wallAheadMs } from '../../agent/capture/packet-time.ts';
import { DISTURBANCES } from '../support/clock-disturbances.ts';
import { sendConnection, sendHandshake, sendPacket } from '../support/tcp-traffic.ts';
import { MEMBER, NODE, NODE_ADDRESS, WatchedAgent } from '../support/watched-agent.ts';

const UNKNOWN = '10.9.9.9:40000';

let watched: WatchedAgent;
beforeEach(async () => {
  watched = await WatchedAgent.start({ fromDns: true });
});
afterEach(() => watched.stop());

const told = (): string[] =>
  watched.anomalies().map(({ kind, peer, flow, count }) => `${kind} ${peer ?? flow?.source.ip} ${count}`);

describe.each(DISTURBANCES)('while the clock is $name', ({ apply }) => {
  it('members stay members, and nothing is stale or blind', async () => {
    watched.deliver((sink, time) => sendHandshake(sink, { from: MEMBER, to: NODE, time }));
    await watched.pass(5);
    apply(watched.clock);
    for (let round = 0; round < 40; round++) {
      await watched.pass(1);
      watched.deliver((sink, time) =>
        sendConnection(sink, { from: `10.0.0.2:${50_000 + round}`, to: NODE, time }),
      );
      // The one of before goes on.
      watched.deliver((sink, time) =>
        sendPacket(sink, {
          from: MEMBER,
          to: NODE,
          time,
          flags: 'ack',
          sequence: 2 + round,
          payloadLength: 1,
        }),
      );
    }
    await watched.pass(20);
    expect(told()).toEqual([]);
    expect(watched.agent.counters()).toMatchObject({ flows: 41, flows_unexpected: 0 });
  });

  it('a node that joins is a member, though it talks before it is listed', async () => {
    await watched.pass(30);
    apply(watched.clock);
    await watched.pass(20);
    watched.deliver((sink, time) => sendHandshake(sink, { from: '10.0.0.3:50000', to: NODE, time }));
    watched.addresses = [NODE_ADDRESS, '10.0.0.2', '10.0.0.3'];
    await watched.pass(40);
    expect(told()).toEqual(['new-member 10.0.0.3 0']);
  });

  it('an unknown peer that talks then is reported at once, and before as after', async () => {
    for (const [index, from] of ['10.9.9.1:40000', '10.9.9.2:40000', '10.9.9.3:40000'].entries()) {
      if (index === 1) apply(watched.clock);
      watched.deliver((sink, time) => sendHandshake(sink, { from, to: NODE, time }));
      await watched.pass(3);
      expect(told()).toHaveLength(index + 1);
    }
    expect(told()).toEqual([1, 2, 3].map((host) => `unexpected-peer 10.9.9.${host} 1`));
  });

  it('an activity goes on as one, is reported again when it has grown, and its times are by the wall clock', async () => {
    const say = (): void =>
      watched.deliver((sink, time) =>
        sendPacket(sink, { from: UNKNOWN, to: NODE, time, flags: 'ack', sequence: 2, payloadLength: 100 }),
      );
    watched.deliver((sink, time) => sendHandshake(sink, { from: UNKNOWN, to: NODE, time }));
    await watched.pass(5);
    apply(watched.clock);
    for (let second = 0; second < 12; second++) {
      await watched.pass(1);
      say();
    }
    const reports = watched.anomalies();
    expect(new Set(reports.map(({ id }) => id)).size).toBe(1);
    expect(reports).toHaveLength(2);
    const { first = '', last = '' } = reports.at(-1) ?? {};
    expect(watched.clock.now() - Date.parse(last)).toBeLessThan(10_000);
    expect(Date.parse(last) - Date.parse(first)).toBeLessThan(30_000);
  });

  it('an attempt that nobody answers is reported after its time', async () => {
    await watched.pass(5);
    watched.deliver((sink, time) => sendPacket(sink, { from: UNKNOWN, to: NODE, time, flags: 'syn' }));
    await watched.pass(5);
    apply(watched.clock);
    await watched.pass(2);
    expect(told()).toEqual([]);
    await watched.pass(30);
    expect(told()).toHaveLength(1);
  });

  it('the disturbance is counted', async () => {
    await watched.pass(2);
    apply(watched.clock);
    await watched.pass(2);
    const { clock_steps: steps, pauses } = watched.agent.counters();
    expect((steps ?? 0) + (pauses ?? 0)).toBe(1);
    expect(wallAheadMs(watched.clock)).not.toBe(0);
  });
});
