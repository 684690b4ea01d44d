import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Anomaly } from '../../common/event.ts';
import { Lab, type HostName } from './lab.ts';
import { Watch } from './watch.ts';

const NODES: readonly HostName[] = ['head', 'w1', 'w2'];
/** Those that a version of Ray does not know are left out: `minor` is the first of Ray 2 that is known to. */
const CLUSTERS = [
  { title: 'with fixed ports', options: [], minor: 0 },
  { title: 'with random ports', options: ['--random-ports'], minor: 0 },
  // Up to Ray 2.38 the head does not start with an IPv6 address.
  { title: 'over IPv6', options: ['--ipv6'], minor: 53 },
  { title: 'with TLS', options: ['--tls', '--random-ports'], minor: 0 },
  { title: 'with tokens', options: ['--token', '--random-ports'], minor: 53 },
];
/** Which Ray this is, as test/ray.sh says. */
const MINOR = Number(/^2\.(\d+)/.exec(process.env.PLASMAWATCH_TEST_RAY ?? '')?.[1] ?? Infinity);

/** Objects of all sizes between all nodes. */
const EXCHANGE = [
  { on: 'w1', to: ['w2', 'head'], bytes: 300_000 },
  { on: 'head', to: ['w1', 'w2'], bytes: 3_000_000 },
  { on: 'w2', to: ['w1'], bytes: 20_000_000 },
] as const;

/** Who did what, without the numbers. */
function told(anomalies: readonly Anomaly[]): string[] {
  const stories = anomalies.map(
    ({ kind, flow }) => `${kind}${flow === null ? '' : ` ${flow.source.ip} > ${flow.destination.ip}`}`,
  );
  return [...new Set(stories)].toSorted();
}

describe.each(CLUSTERS.filter(({ minor }) => minor <= MINOR))(
  'a cluster $title, watched without configuration',
  ({ options }) => {
    let lab: Lab;
    let watch: Watch;
    beforeAll(async () => {
      lab = await Lab.up(options);
      watch = await Watch.start(lab, NODES);
    });
    afterAll(async () => {
      await watch?.stop();
      await lab?.down();
    });

    it('raises nothing while the nodes exchange objects', async () => {
      await lab.move(EXCHANGE);
      expect(await watch.news()).toEqual([]);
    });

    it('tells of a stranger, whatever it asks for and however', async () => {
      await lab.call('intruder', 'w1', 'pull');
      await lab.call('intruder', 'w1', 'push');
      await lab.call('intruder', 'w1', 'pull', 'ROGUE_TLS=1');
      await lab.call('intruder', 'w2', 'free');
      await lab.call('intruder', 'w2', 'hold');
      await lab.call('intruder', 'w2', 'pull', 'ROGUE_TOKEN=wrong');
      const stranger = lab.address('intruder');
      expect(told(await watch.news())).toEqual(
        (['w1', 'w2'] as const).map((node) => `unexpected-peer ${stranger} > ${lab.address(node)}`),
      );
    });
  },
);

describe('a cluster that grows and shrinks', () => {
  let lab: Lab;
  let watch: Watch;
  beforeAll(async () => {
    lab = await Lab.up(['--random-ports']);
    watch = await Watch.start(lab, NODES);
  });
  afterAll(async () => {
    await watch?.stop();
    await lab?.down();
  });

  it('tells of the new member, and of nothing else', async () => {
    await lab.move(EXCHANGE);
    await lab.add('w3');
    await lab.move([
      { on: 'w3', to: ['w1', 'w2'], bytes: 500_000 },
      { on: 'w1', to: ['w3'], bytes: 500_000 },
    ]);
    expect(told(await watch.news())).toEqual(['new-member']);
  });

  it('says nothing when the member leaves, and tells when its address talks again', async () => {
    const address = lab.address('w3');
    const port = lab.objectManagerPort('w1');
    await lab.remove('w3');
    await lab.move(EXCHANGE);
    await waitLonger();
    expect(await watch.news()).toEqual([]);
    await lab.exec('client', 'ip', 'addr', 'add', `${address}/24`, 'dev', 'eth0');
    const call = `import socket; socket.create_connection(("${lab.address('w1')}", ${port}), 5, ("${address}", 0)).send(b"x")`;
    await lab.exec('client', 'python', '-c', call);
    expect(told(await watch.news())).toEqual([`former-member ${address} > ${lab.address('w1')}`]);
  });
});

describe('intruders', () => {
  let lab: Lab;
  let watch: Watch;
  const APPROVED = `version: 1
members: approved
approved: { cidr: [APPROVED_RANGE] }
groups: { cluster: { ray: auto } }
allow: [{ name: nodes exchange objects, from: cluster, to: object-manager }]
`;
  beforeAll(async () => {
    lab = await Lab.up([]);
    const range = lab.address('head').replace(/\d+$/, '0/24');
    watch = await Watch.start(lab, NODES, APPROVED.replace('APPROVED_RANGE', range));
  });
  afterAll(async () => {
    await watch?.stop();
    await lab?.down();
  });

  it('who scan are one story on each node that they touch', async () => {
    const targets = NODES.map((node) => lab.address(node));
    await lab.exec(
      'intruder',
      'nmap',
      '-n',
      '-Pn',
      '-sS',
      '-p',
      String(lab.objectManagerPort('w1')),
      ...targets,
    );
    const stranger = lab.address('intruder');
    expect(told(await watch.news())).toEqual(
      targets.map((target) => `unexpected-peer ${stranger} > ${target}`).toSorted(),
    );
  });

  it('who are a program on a node that pushes objects out are the unexpected destination, and the process', async () => {
    const port = String(lab.objectManagerPort('w1'));
    const server = lab.python('intruder', 'rogue.py', 'serve', port, '30');
    await waitUntilServing();
    const target = lab.address('intruder');
    await lab.python(
      'w1',
      'rogue.py',
      'push',
      `${target}:${port}`,
      'ef'.repeat(28),
      // Long enough for the program to be seen while it runs.
      '8388608',
      'ab'.repeat(28),
      '12',
    );
    await server;
    const way = `${lab.address('w1')} > ${target}`;
    const news = await watch.news();
    expect(told(news)).toEqual([`foreign-process ${way}`, `unexpected-destination ${way}`]);
    const insider = news.find(({ kind }) => kind === 'foreign-process');
    expect(insider?.process?.command_line).toContain('rogue.py push');
  });

  it('who are a program on a node that asks another node are named, though the nodes may talk', async () => {
    // From another node than above, where the same program is a story already.
    await lab.call('w2', 'w1', 'pull');
    const news = await watch.news();
    expect(told(news)).toEqual([`foreign-process ${lab.address('w2')} > ${lab.address('w1')}`]);
    expect(news[0]?.process?.command_line).toContain('rogue.py pull');
  });

  it('who join by `ray start --address` stay unexpected where members must be approved', async () => {
    const head = `${lab.address('head')}:6379`;
    const own = lab.address('intruder');
    await lab.exec(
      'intruder',
      // The daemons keep the pipes of who started them.
      'sh',
      '-c',
      '"$@" > /dev/null 2>&1',
      'start',
      'ray',
      'start',
      `--address=${head}`,
      `--node-ip-address=${own}`,
      '--num-cpus=1',
      '--object-store-memory=100000000',
      '--disable-usage-stats',
    );
    await lab.move([{ on: 'w1', to: ['intruder'], bytes: 200_000 }]);
    const news = await watch.news();
    expect(told(news)).toEqual(expect.arrayContaining([`unexpected-peer ${own} > ${lab.address('w1')}`]));
    expect(news.map(({ message }) => message).join('\n')).toMatch(/admitted/);
  });
});

/** Longer than the time in which a member that left may still talk. */
function waitLonger(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, 40_000);
  });
}

function waitUntilServing(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, 3000);
  });
}
