import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { OTHER_WORKER, WorkerAgent, WORKER } from '../support/worker-agent.ts';
import { sendConnection, sendHandshake, sendPacket } from '../support/tcp-traffic.ts';

const FROM = `${WORKER}:6000`;
const TO = `${OTHER_WORKER}:43800`;
/** Until who is missing in the list has left, and counts as a member no more. */
const LEFT_S = 60;

describe('a node of the cluster that calls an address that has left', () => {
  let worker: WorkerAgent;

  beforeEach(async () => {
    worker = await WorkerAgent.start({ isDashboardThere: true });
    await worker.pass(10);
  });

  afterEach(() => worker.stop());

  async function leave(address: string): Promise<void> {
    worker.nodes = worker.nodes.filter((node) => node !== address);
    await worker.pass(LEFT_S);
  }

  function deliver(send: typeof sendHandshake, payloadLength = 0, from = FROM, to = TO): void {
    const time = worker.clock.now() / 1000;
    worker.source.deliver((sink) => send(sink, { from, to, time, payloadLength }));
  }

  /** Payload, and the responder's acknowledgment where it takes it. */
  function sendData(sequence: number, isAnswered = true): void {
    const time = worker.clock.now() / 1000;
    worker.source.deliver((sink) => {
      sendPacket(sink, {
        from: FROM,
        to: TO,
        time,
        flags: 'ack',
        sequence,
        acknowledgment: 2,
        payloadLength: 100,
      });
      if (isAnswered) {
        sendPacket(sink, {
          from: TO,
          to: FROM,
          time,
          flags: 'ack',
          sequence: 2,
          acknowledgment: sequence + 100,
        });
      }
    });
  }

  const severities = (): string[] => [
    ...new Set(worker.reports.map(({ kind, severity }) => `${kind} ${severity}`)),
  ];

  it('is an unexpected destination: a warning as long as nothing more than the handshake leaves', async () => {
    await leave(OTHER_WORKER);
    deliver(sendHandshake);
    await worker.pass(20);
    expect(severities()).toEqual(['unexpected-destination warning']);
    expect(worker.reports[0]?.message).toContain(`of former member ${OTHER_WORKER}`);
  });

  it('is critical within a second of the first data', async () => {
    await leave(OTHER_WORKER);
    deliver(sendHandshake);
    await worker.pass(5);
    sendData(2);
    await worker.pass(1);
    expect(severities()).toEqual(['unexpected-destination warning', 'unexpected-destination critical']);
  });

  it('is critical with data of a connection that is over before anybody looks', async () => {
    await leave(OTHER_WORKER);
    deliver(sendConnection, 50);
    await worker.pass(2);
    expect(severities().at(-1)).toBe('unexpected-destination critical');
    expect(new Set(worker.reports.map(({ id }) => id)).size).toBe(1);
  });

  it('is critical with data of a later connection of the same activity', async () => {
    await leave(OTHER_WORKER);
    deliver(sendHandshake);
    await worker.pass(5);
    deliver(sendConnection, 50, `${WORKER}:6001`);
    await worker.pass(2);
    expect(severities().at(-1)).toBe('unexpected-destination critical');
    expect(worker.reports.at(-1)?.count).toBe(2);
  });

  it('does not take for data what it sent while the other was a member, or repeats to one that is gone', async () => {
    deliver(sendHandshake);
    sendData(2);
    await leave(OTHER_WORKER);
    sendData(102, false);
    await worker.pass(15);
    sendData(102, false);
    await worker.pass(15);
    expect(severities()).toEqual(['unexpected-destination warning']);
    sendData(102);
    await worker.pass(2);
    expect(severities()).toEqual(['unexpected-destination warning', 'unexpected-destination critical']);
  });

  it('is told from one that has left and calls this node', async () => {
    await leave(OTHER_WORKER);
    deliver(sendConnection, 50, `${OTHER_WORKER}:6000`, `${WORKER}:43800`);
    await worker.pass(5);
    expect(severities()).toEqual(['former-member warning']);
    expect(worker.reports[0]?.message).toMatch(new RegExp(`^Former member ${OTHER_WORKER} talks`));
  });
});
