/** Captures during which somebody set the clock that stamped the packets. */
import { describe, expect, it } from 'vitest';
import type { Frame, FrameSink } from '../../agent/capture/source.ts';
import { Membership } from '../../agent/membership/membership.ts';
import { Replay } from '../../agent/replay.ts';
import { Ruleset } from '../../rules/match.ts';
import { CLOCK_STEPS } from '../support/clock-disturbances.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { FakeProvider, membersView } from '../support/fake-provider.ts';
import { FakeSource } from '../support/fake-source.ts';
import { sampleRule } from '../support/sample-rule.ts';
import { sendConnection, sendPacket } from '../support/tcp-traffic.ts';

const NODE = '10.0.0.1:43800';
const START = Date.UTC(2026, 10, 23, 12) / 1000;

/** Plays what `send` sends; whom it accuses, and how many anomalies that takes. */
async function play(send: (sink: FrameSink) => void) {
  const membership = new Membership({
    providers: new Map([['cluster', [new FakeProvider(membersView('10.0.0.1', '10.0.0.2'))]]]),
    clock: new FakeClock(START * 1000),
  });
  await membership.start();
  const ruleset = new Ruleset({
    rules: [sampleRule()],
    services: new Map([['object-manager', [{ first: 43_800, last: 43_800 }]]]),
    groups: new Map([['cluster', {}]]),
  });
  const peers: string[] = [];
  const replay = new Replay({
    node: 'w1',
    policy: { ruleset, membership },
    maxFlows: 4096,
    onAnomaly: ({ flow, kind }) => peers.push(`${kind} ${flow?.source.ip}`),
  });
  const source = new FakeSource();
  const played = replay.play(source);
  source.deliver(send);
  source.stop();
  await played;
  const totals = replay.end();
  return { peers: [...new Set(peers)].toSorted(), anomalies: peers.length, totals };
}

/** Ten minutes of members, with an unknown peer in each, and a connection that goes on throughout. */
function tenMinutes(sink: FrameSink, timeOf: (second: number) => number): void {
  for (let second = 0; second < 600; second++) {
    const time = timeOf(second);
    sendPacket(sink, {
      from: '10.0.0.2:50000',
      to: NODE,
      time,
      flags: 'ack',
      sequence: second,
      payloadLength: 1,
    });
    sendConnection(sink, { from: `10.0.0.2:${10_000 + second}`, to: NODE, time });
    if (second % 60 === 30) sendConnection(sink, { from: `10.9.9.${second / 30}:999`, to: NODE, time });
    // An attempt that nobody answers.
    if (second % 60 === 40)
      sendPacket(sink, { from: `10.8.8.${second / 20}:999`, to: NODE, time, flags: 'syn' });
  }
}

describe('a capture whose clock', () => {
  it.each(CLOCK_STEPS)('is $name accuses the same peers', async ({ byMs }) => {
    const steady = await play((sink) => tenMinutes(sink, (second) => START + second));
    const stepped = await play((sink) =>
      tenMinutes(sink, (second) => START + second + (second < 300 ? 0 : byMs / 1000)),
    );
    expect(steady.peers).toHaveLength(20);
    expect(stepped.peers).toEqual(steady.peers);
    expect(stepped.anomalies).toBe(steady.anomalies);
    // Only what was open then begins anew.
    expect(stepped.totals.flows - steady.totals.flows).toBeLessThanOrEqual(2);
  });

  it('is set back goes on being judged: attempts one by one, and not only counted after the first thousand', async () => {
    const { totals } = await play((sink) => {
      sendConnection(sink, { from: '10.0.0.2:1000', to: NODE, time: START });
      for (let second = 0; second < 1200; second++) {
        const time = START - 86_400 + second;
        sendPacket(sink, { from: `10.9.${second >> 8}.${second & 255}:999`, to: NODE, time, flags: 'syn' });
        sendPacket(sink, {
          from: NODE,
          to: `10.9.${second >> 8}.${second & 255}:999`,
          time,
          flags: 'rst',
          acknowledgment: 2,
        });
      }
    });
    expect(totals.countedAttempts).toBe(0);
  });

  it('jumps to the end of time and back with a packet accuses the same peers, in as many looks at the time', async () => {
    const steady = await play((sink) => tenMinutes(sink, (second) => START + second));
    const stray = await play((sink) =>
      tenMinutes(sink, (second) => (second === 301 ? 4_294_967_295 : START + second)),
    );
    expect(stray.peers).toEqual(steady.peers);
  });

  it('differs between two interfaces by hours takes both for what they are', async () => {
    let turn = 0;
    const steady = await play((sink) => tenMinutes(sink, (second) => START + second));
    const skewed = await play((sink) => {
      const frame = (each: Frame): void => {
        if (turn++ % 2 === 1) each.seconds -= 7200;
        sink.frame(each);
      };
      tenMinutes({ frame, counts: () => {}, blockEnd: () => {} }, (second) => START + second);
    });
    expect(skewed.peers).toEqual(steady.peers);
    expect(skewed.totals.flows).toBe(steady.totals.flows);
  });
});
