import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { listNodes, NodeMemory, type ListedNode } from '../../../agent/ray/dashboard.ts';
import { HttpReceiver } from '../../support/http-receiver.ts';

/** What the dashboard of a Ray 2.60 cluster of three nodes answered. */
const RECORDED = readFileSync(resolve(import.meta.dirname, '../../vectors/ray/nodes-summary.json'), 'utf8');

describe('listNodes', () => {
  let dashboard: HttpReceiver;
  beforeEach(async () => {
    dashboard = await HttpReceiver.open();
  });
  afterEach(() => dashboard.close());

  async function ask(answer: string, isUrgent = false): Promise<readonly ListedNode[]> {
    dashboard.answers = [{ status: 200, body: answer }];
    const port = Number(new URL(dashboard.url('/')).port);
    return listNodes({ host: '127.0.0.1', port, fetch: globalThis.fetch, isUrgent });
  }

  function summary(raylet: object): string {
    const known = { nodeId: 'aa', nodeManagerAddress: '10.0.0.1', objectManagerPort: 1, state: 'ALIVE' };
    return JSON.stringify({ data: { summary: [{ raylet: { ...known, ...raylet } }] } });
  }

  it('tells the nodes and every port of each', async () => {
    const nodes = await ask(RECORDED);
    expect(nodes.map(({ address, isHead, isAlive }) => [address, isHead, isAlive])).toEqual([
      ['10.77.0.10', true, true],
      ['10.77.0.11', false, true],
      ['10.77.0.12', false, true],
    ]);
    expect(nodes[1]?.ports).toEqual(
      new Map([
        ['object-manager', [43_800]],
        ['node-manager', [39_629]],
        ['dashboard-agent', [52_365]],
        ['dashboard-agent-grpc', [44_467]],
        ['metrics-export', [40_491]],
        ['runtime-env-agent', [35_223]],
      ]),
    );
  });

  it('parses nothing and gives the same list again where only load and memory of the nodes have changed', async () => {
    const memory = new NodeMemory();
    const answer = (cpu: number, port = 1): string =>
      JSON.stringify({
        data: {
          summary: Array.from({ length: 1000 }, (_, id) => ({
            cpu,
            raylet: {
              storeStats: { objectStoreBytesAvail: `${cpu}` },
              nodeId: `${id}`,
              nodeManagerAddress: '10.0.0.1',
              objectManagerPort: id === 500 ? port : 1,
              state: 'ALIVE',
            },
          })),
        },
      });
    const list = (body: string): Promise<readonly ListedNode[]> => {
      const fetch = (): Promise<Response> => Promise.resolve(new Response(body));
      return listNodes({ host: '127.0.0.1', port: 1, fetch, isUrgent: false, memory });
    };
    const first = await list(answer(1));
    const parse = vi.spyOn(JSON, 'parse');
    try {
      expect(await list(answer(2))).toBe(first);
      expect(parse).not.toHaveBeenCalled();
      const changed = await list(answer(3, 2));
      expect(parse).toHaveBeenCalledTimes(1);
      expect(changed.filter((node, index) => node !== first[index])).toEqual([
        { ...first[500], ports: new Map([['object-manager', [2]]]) },
      ]);
    } finally {
      parse.mockRestore();
    }
  });

  it('takes a list of 20,000 nodes in pieces between which packets are handled', async () => {
    const raylet = { nodeManagerAddress: '10.0.0.1', objectManagerPort: 1, state: 'ALIVE' };
    const entries = Array.from({ length: 20_000 }, (_, id) => ({ raylet: { nodeId: `${id}`, ...raylet } }));
    const body = JSON.stringify({ data: { summary: entries } });
    // Answers at once, so that the turns are those of the list.
    const fetch = (): Promise<Response> => Promise.resolve(new Response(body));
    let turns = 0;
    let isDone = false;
    const count = (): void => {
      turns++;
      if (!isDone) setImmediate(count);
    };
    setImmediate(count);
    const nodes = await listNodes({ host: '127.0.0.1', port: 1, fetch, isUrgent: false });
    isDone = true;
    expect(nodes).toHaveLength(20_000);
    expect(turns).toBeGreaterThanOrEqual(39);
  });

  it('leaves out ports that a node has not told', async () => {
    const [node] = await ask(summary({ nodeManagerPort: 0, metricsAgentPort: 7 }));
    expect([...(node?.ports.keys() ?? [])]).toEqual(['object-manager', 'dashboard-agent-grpc']);
  });

  it('tells the dead from the living, though Ray has forgotten where they were', async () => {
    const dead = { state: 'DEAD', nodeManagerAddress: '', objectManagerPort: 0, nodeManagerPort: 0 };
    expect(await ask(summary(dead))).toEqual([
      { nodeId: 'aa', address: '', isAlive: false, isHead: false, ports: new Map() },
    ]);
  });

  it("passes the dashboard's cache by for somebody who waits", async () => {
    await ask(summary({}), true);
    expect(dashboard.requests[0]?.path).toBe('/nodes?view=summary&nocache=1');
  });

  it.each([
    ['a-token', "HTTP status 401: it refuses Ray's token"],
    [undefined, "HTTP status 401: it wants Ray's token (ray.tokenFile or RAY_AUTH_TOKEN)"],
  ])('says what is wrong where the dashboard wants a token, and not the token: %s', async (token, reason) => {
    dashboard.answers = [{ status: 401, body: '' }];
    const port = Number(new URL(dashboard.url('/')).port);
    const asked = listNodes({ host: '127.0.0.1', port, fetch: globalThis.fetch, isUrgent: false, token });
    await expect(asked).rejects.toThrow(reason);
    await expect(asked).rejects.not.toThrow('a-token');
  });

  it.each([
    ['of another form', '{"data":{"summary":[{}]}}', 'nodeId'],
    ['without a list', '{"data":{}}', 'expected JSON of {"data": {"summary": [...]}}'],
    ['that ends too soon', RECORDED.slice(0, -3), 'or a part of it'],
    ['with a port that is none', summary({ objectManagerPort: 70_000 }), 'objectManagerPort'],
    ['that is no JSON', '<html>', 'JSON'],
  ])('refuses an answer %s', async (_title, answer, problem) => {
    await expect(ask(answer)).rejects.toThrow(problem);
  });
});
