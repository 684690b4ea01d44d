import { beforeEach, describe, expect, it } from 'vitest';
import { MAX_CONNECTIONS, UnseenConnections, type OpenConnection } from '../../../agent/detect/unseen.ts';
import { PortSet } from '../../../agent/capture/source.ts';
import { parseAddress } from '../../../common/address.ts';

const SETTLED_MS = 6000;

function connection(remote: string, remotePort = 43_800, localPort = 50_000): OpenConnection {
  const [local, other] = [parseAddress('10.0.0.1'), parseAddress(remote)];
  if (local === undefined || other === undefined) throw new Error('no address');
  return { local, localPort, remote: other, remotePort };
}

describe('UnseenConnections', () => {
  let known: Set<OpenConnection>;
  let watched: number[];
  let nowMs: number;
  let unseen: UnseenConnections;

  beforeEach(() => {
    known = new Set();
    watched = [43_800];
    nowMs = 1000;
    unseen = new UnseenConnections({
      watchedPorts: () => new PortSet(watched),
      isKnown: (candidate) => known.has(candidate),
    });
  });

  /** Looks, and again when the capture has had its time. */
  function look(...connections: OpenConnection[]): void {
    unseen.look(connections, nowMs);
    nowMs += SETTLED_MS;
    unseen.look(connections, nowMs);
  }

  it('counts once a connection that was opened under its eyes and not captured', () => {
    look();
    look(connection('10.0.0.2'));
    look(connection('10.0.0.2'));
    expect(unseen.count).toBe(1);
  });

  it('gives the capture time to show it', () => {
    look();
    const fresh = connection('10.0.0.2');
    unseen.look([fresh], nowMs);
    unseen.look([fresh], nowMs + 1000);
    known.add(fresh);
    look(fresh);
    expect(unseen.count).toBe(0);
  });

  it.each([
    ['was there before the capture', (fresh: OpenConnection) => look(fresh)],
    [
      'was opened before its port was watched',
      (fresh: OpenConnection) => {
        look();
        watched = [];
        look(fresh);
        watched = [43_800];
        look(fresh);
      },
    ],
    [
      'was opened since the last look, before its port was watched',
      (fresh: OpenConnection) => {
        watched = [];
        look();
        watched = [43_800];
        look(fresh);
        look(fresh);
      },
    ],
    [
      'has gone before it was due',
      (fresh: OpenConnection) => {
        look();
        unseen.look([fresh], nowMs);
        look();
      },
    ],
  ])('does not count one that %s', (_name, story) => {
    story(connection('10.0.0.2'));
    expect(unseen.count).toBe(0);
  });

  it('does not count what stays on the machine or goes elsewhere', () => {
    look();
    look(connection('127.0.0.1'), connection('10.0.0.2', 6379));
    expect(unseen.count).toBe(0);
  });

  it('compares a connection though there are 60,000 others, wherever they go', () => {
    look();
    const elsewhere = Array.from({ length: 50_000 }, (_, port) => connection('10.0.0.3', 6379, port));
    const here = Array.from({ length: 10_000 }, (_, port) => connection('10.0.0.3', 43_800, port));
    for (const each of here) known.add(each);
    look(...elsewhere, ...here, connection('10.0.0.2'));
    expect([unseen.count, unseen.unchecked]).toEqual([1, 0]);
  });

  it('counts those beyond what it compares', () => {
    const many = Array.from({ length: MAX_CONNECTIONS }, (_, port) => connection('10.0.0.3', 43_800, port));
    unseen.look([...many, connection('10.0.0.2')], nowMs);
    expect(unseen.unchecked).toBe(1);
  });
});
