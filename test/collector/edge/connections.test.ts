import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Connections, type ConnectionLimits } from '../../../collector/edge/connections.ts';
import { Refusals } from '../../../collector/edge/refusals.ts';
import { trustedProxies } from '../../../collector/edge/source.ts';
import { createCollectorMetrics } from '../../../collector/metrics.ts';
import { silentLogger } from '../../../common/log.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { waitFor } from '../../support/wait-for.ts';

const open: { server: Server; sockets: Socket[] }[] = [];
afterEach(async () => {
  for (const { server, sockets } of open.splice(0)) {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  }
});

async function listen(limits: Partial<ConnectionLimits> = {}, proxies: readonly string[] = []) {
  const clock = new FakeClock();
  const metrics = createCollectorMetrics();
  const refusals = new Refusals({ clock, metrics, logger: silentLogger });
  const accepted: Socket[] = [];
  const server = createServer((socket) => accepted.push(socket.on('error', () => {})));
  const connections = new Connections({
    server,
    clock,
    metrics,
    refusals,
    isTrustedProxy: trustedProxies(proxies),
    limits: { maxVisitors: 100, maxVisitorsPerAddress: 100, connectionsPerSecond: 100, ...limits },
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const sockets: Socket[] = [];
  open.push({ server, sockets });
  /** A connection that the server has taken. */
  const visit = async (localAddress: string): Promise<Socket> => {
    const socket = connect({ port, host: '127.0.0.1', localAddress }).on('error', () => {});
    sockets.push(socket);
    const count = accepted.length + 1;
    await waitFor(() => accepted.length === count, 'a connection');
    return socket;
  };
  const serverSide = (socket: Socket) =>
    accepted.find(({ remotePort }) => remotePort === socket.localPort) as Socket;
  const visitors = async () => (await metrics.visitors.get()).values[0]?.value;
  const refused = async (reason: string) =>
    (await metrics.peersRefused.get()).values.find(({ labels }) => labels['reason'] === reason)?.value ?? 0;
  return { clock, connections, visit, serverSide, visitors, refused };
}

describe('connections', () => {
  it('beyond the room of all make place, the longest silent first', async () => {
    const { visit, visitors, refused } = await listen({ maxVisitors: 2 });
    const first = await visit('127.0.0.2');
    const second = await visit('127.0.0.3');
    const third = await visit('127.0.0.4');
    await waitFor(() => first.destroyed, 'the end of the first');
    expect([second.destroyed, third.destroyed]).toEqual([false, false]);
    expect(await visitors()).toBe(2);
    expect(await refused('crowded-out')).toBe(1);
  });

  it('beyond the room of one address make place for others of that address only', async () => {
    const { visit, refused } = await listen({ maxVisitorsPerAddress: 1 });
    const elsewhere = await visit('127.0.0.2');
    const first = await visit('127.0.0.3');
    await visit('127.0.0.3');
    await waitFor(() => first.destroyed, 'the end of the first');
    expect(elsewhere.destroyed).toBe(false);
    expect(await refused('crowded-out')).toBe(1);
  });

  it('of callers who have shown who they are make place last', async () => {
    const { connections, visit, serverSide } = await listen({ maxVisitors: 2 });
    const caller = await visit('127.0.0.2');
    const idle = await visit('127.0.0.3');
    connections.renew(serverSide(caller));
    await visit('127.0.0.4');
    await waitFor(() => idle.destroyed, 'the end of the idle one');
    expect(caller.destroyed).toBe(false);
  });

  it('that became an agent’s take no room', async () => {
    const { connections, visit, serverSide, visitors } = await listen({ maxVisitors: 1 });
    const agent = await visit('127.0.0.2');
    connections.handOver(serverSide(agent));
    await visit('127.0.0.3');
    expect(agent.destroyed).toBe(false);
    expect(await visitors()).toBe(1);
  });

  it('from where an agent came in before make place after those of strangers', async () => {
    const { connections, visit, serverSide, refused } = await listen({ maxVisitors: 3 });
    connections.handOver(serverSide(await visit('127.0.0.2')));
    const agent = await visit('127.0.0.2');
    const crowd: Socket[] = [];
    for (let host = 10; host < 60; host++) crowd.push(await visit(`127.0.0.${host}`));
    await waitFor(() => crowd.filter(({ destroyed }) => destroyed).length === 48, 'the end of the crowd');
    expect(agent.destroyed).toBe(false);
    expect(await refused('crowded-out')).toBe(48);
  });

  it('from a known address are counted apart from the addresses that strangers come from', async () => {
    const { connections, visit, serverSide, refused } = await listen({ connectionsPerSecond: 1 });
    connections.handOver(serverSide(await visit('127.0.0.2')));
    for (let index = 0; index < 4; index++) await visit('127.0.0.2');
    expect(await refused('connecting-too-often')).toBe(0);
    await visit('127.0.0.2');
    expect(await refused('connecting-too-often')).toBe(1);
  });

  it('of a trusted proxy are not held to the limits of one address', async () => {
    const limits = { connectionsPerSecond: 1, maxVisitorsPerAddress: 1, maxVisitors: 8 };
    const { visit, visitors, refused } = await listen(limits, ['127.0.0.2']);
    for (let index = 0; index < 8; index++) await visit('127.0.0.2');
    expect(await visitors()).toBe(8);
    await visit('127.0.0.2');
    expect(await refused('connecting-too-often')).toBe(0);
    expect(await refused('crowded-out')).toBe(1);
  });

  it('that ended leave no trace', async () => {
    const { visit, visitors } = await listen();
    (await visit('127.0.0.2')).destroy();
    await vi.waitFor(async () => expect(await visitors()).toBe(0));
  });

  it('that come too fast from one address are cut off, until it has waited', async () => {
    const { clock, visit, visitors, refused } = await listen({ connectionsPerSecond: 1 });
    for (let index = 0; index < 4; index++) await visit('127.0.0.2');
    const last = await visit('127.0.0.2');
    await waitFor(() => last.destroyed, 'the end of the last');
    expect((await visit('127.0.0.3')).destroyed).toBe(false);
    expect(await refused('connecting-too-often')).toBe(1);
    clock.advance(4000);
    await visit('127.0.0.2');
    expect(await visitors()).toBe(6);
  });
});
