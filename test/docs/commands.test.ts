/**
 * Every command of the pages, run by a person who follows them: on two bare machines, in the order of the pages, by copy and
 * paste. What cannot run there is listed with the reason, and with how it is checked instead.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { missingForMachines } from '../support/bare-root.ts';
import { commandBlocks, commandsOf, docPages, type DocBlock } from '../support/doc-commands.ts';
import { DocumentedMachine } from '../support/documented-machine.ts';
import { Laboratory, type Machine } from '../support/machine.ts';
import { waitFor } from '../support/wait-for.ts';

const run = promisify(execFile);
const missing = missingForMachines();
const SETUP_LIMIT_MS = 300_000;

/** Blocks that are not run on the machines: by page and first command, why not, and what checks them instead. */
const NOT_RUN: readonly (readonly [page: string, command: string, reason: string])[] = [
  ['README.md', 'npm ci && npm start', 'needs a registry: .ci/run does npm ci, test/e2e/up.test.ts the rest'],
  ['README.md', 'npm ci && npm test', 'this is part of it'],
  ['CONTRIBUTING.md', 'npm ci', 'this is part of it'],
  ['docs/install.md', 'npm ci && npm pack', 'needs a registry; the machines hold what npm pack lists'],
  ['docs/install.md', 'sudo npm install --global ./plasmawatch-*.tgz', 'needs a registry and compilers'],
  ['docs/install.md', 'sudo npm install --global ./plasmawatch-NEW.tgz', 'needs a registry and compilers'],
  [
    'docs/install.md',
    'deploy/make-secrets.sh',
    'needs Docker: test/deploy/compose.test.ts reads the file and makes secrets',
  ],
  ['docs/install.md', 'sudo plasmawatch incidents', 'for plasmawatch up: test/e2e/local-users.test.ts'],
  [
    'docs/monitoring.md',
    'promtool check rules prometheus-rules.yaml',
    'needs Prometheus: test/deploy/prometheus-rules.test.ts checks the rules and tries them',
  ],
  ['CONTRIBUTING.md', 'test/ray.sh 2.38.0', 'runs real clusters of Ray, before a release'],
  ['docs/benchmarks.md', 'npm run build', 'minutes of load: by hand, and on a checkout'],
];

/** The sections in the order in which a person needs them; that of the pages, but for what ends the installation. */
const JOURNEY: readonly (readonly [page: string, section: string])[] = [
  ['docs/install.md', 'Install the collector'],
  ['docs/install.md', 'Install on a node'],
  ['docs/install.md', 'Ask the collector'],
  ['docs/install.md', 'Change the settings'],
  ['docs/install.md', 'Check your version of Ray'],
  ['docs/rules.md', 'Try it'],
  ['docs/alerts.md', 'Connect Slack'],
  ['docs/alerts.md', 'Look after incidents'],
  ['docs/alerts.md', 'Tell nobody for a while'],
  ['docs/alerts.md', 'Who did what'],
  ['docs/install.md', 'Give agents certificates'],
  ['docs/install.md', 'Give each agent a key of its own'],
  ['docs/install.md', 'Who belongs to the cluster'],
  ['docs/install.md', 'Let the agent look into processes'],
  ['docs/install.md', 'Keep the rules in one place'],
  ['docs/install.md', 'Upgrade'],
  ['docs/install.md', 'Back up and restore'],
  ['docs/install.md', 'Keep the logs small'],
  ['docs/troubleshooting.md', 'When an agent is missing'],
  ['docs/install.md', 'Uninstall'],
];

/** What a person copies from the collector to a node, by the name that it has there. */
const COPIED: Readonly<Record<string, string>> = {
  'agent-token': '/etc/plasmawatch/collector/agent-token',
  'viewer-token': '/etc/plasmawatch/collector/api-token',
  'collector.pem': '/etc/plasmawatch/collector.pem',
  'rules.pub': '/etc/plasmawatch/rules.pub',
  'w1.pem': '/home/ops/clients/w1.pem',
  'w1.key': '/home/ops/clients/w1.key',
  'w1-token': '/home/ops/w1-token',
};

const SLACK = 'http://127.0.0.1:8077/services/for-this-test';
const OBJECT_MANAGER_PORT = 43_800;

const all = docPages().flatMap(commandBlocks);
const isNotRun = (block: DocBlock): boolean =>
  NOT_RUN.some(([page, command]) => block.page === page && commandsOf(block.text)[0] === command);
const blocksOf = ([page, section]: readonly [string, string]): DocBlock[] =>
  all.filter((block) => block.page === page && block.section === section && !isNotRun(block));

describe('the commands of the pages', () => {
  it('are all run, or listed with the reason why not', () => {
    const planned = new Set(JOURNEY.flatMap(blocksOf));
    const forgotten = all.filter((block) => !planned.has(block) && !isNotRun(block));
    expect(forgotten.map(({ page, line, text }) => `${page}:${line}: ${text}`)).toEqual([]);
    const unused = NOT_RUN.filter(
      ([page, command]) => !all.some((block) => block.page === page && commandsOf(block.text)[0] === command),
    );
    expect(unused).toEqual([]);
    expect(JOURNEY.filter((step) => blocksOf(step).length === 0)).toEqual([]);
  });
});

describe.skipIf(missing !== undefined)(
  `a person who follows the pages${missing === undefined ? '' : ` (needs ${missing})`}`,
  () => {
    let laboratory: Laboratory;
    let collector: DocumentedMachine;
    let node: DocumentedMachine;
    let peer: string;
    let executed = 0;
    let stuckAt: string | undefined;

    beforeAll(async () => {
      laboratory = new Laboratory();
      await laboratory.open();
      const hosts = { 'collector.example.com': '198.18.0.2' };
      collector = new DocumentedMachine(await laboratory.boot('collector', '198.18.0.2', hosts));
      node = new DocumentedMachine(await laboratory.boot('w1', '198.18.0.3', hosts));
      peer = await laboratory.addPeer('peer', '198.18.0.66');
      await serve(
        collector.machine,
        'slack',
        `require('node:http').createServer((request, response) => {
        request.resume().on('end', () => response.end('ok'));
      }).listen(8077, '127.0.0.1')`,
      );
      await serve(
        node.machine,
        'objects',
        `require('node:net').createServer((socket) => {
        socket.on('error', () => {}).resume();
      }).listen(${OBJECT_MANAGER_PORT}, '::')`,
      );
    }, SETUP_LIMIT_MS);
    afterAll(async () => {
      console.log(`${executed} commands of the pages executed, ${NOT_RUN.length} blocks checked otherwise`);
      await laboratory.close();
    });

    /** What the API of the collector answers. */
    const ask = async (path: string): Promise<string> =>
      await collector.machine
        .expect(`sed 's/.*/header="Authorization: Bearer &"/' /etc/plasmawatch/collector/api-token |
        curl -K - --fail --silent --cacert /etc/plasmawatch/collector.pem https://collector.example.com:9440${path}`);

    const follow = async (block: DocBlock): Promise<void> => {
      const person = block.place.startsWith('on w1') ? node : collector;
      if (person === node) await copyToNode();
      const { text } = block;
      const { status, output } = await person.follow(block, fillIn);
      if (status !== 0) throw new Error(`${block.page}:${block.line} ended with ${status}:\n${output}`);
      if (text.includes('plasmawatch doctor')) expect(output).toContain('An agent can work here');
      executed += commandsOf(block.text).length;
    };

    const copyToNode = async (): Promise<void> => {
      for (const [name, path] of Object.entries(COPIED)) {
        const { status, output } = await collector.machine.run(`cat ${path}`);
        if (status === 0) await node.receive(name, output);
      }
    };

    /** Runs after the section: what a person sees then, and what happens in the world meanwhile. */
    const after: Readonly<Record<string, () => Promise<void>>> = {
      'Install on a node': async () => {
        await waitFor(async () => (await ask('/api/agents')).includes('"state":"connected"'), 'the agent');
        node.machine.write('/etc/plasmawatch/rules.yaml', RULES);
        await waitFor(
          async () =>
            (await node.machine.expect('journalctl --unit=plasmawatch-agent')).includes('rules taken over'),
          'the rules of the test',
        );
        await run('ip', ['netns', 'exec', peer, process.execPath, '-e', INTRUSION]);
        await waitFor(
          async () => (await ask('/api/incidents')).includes('198.18.0.66'),
          'the incident',
          60_000,
        );
        expect(await ask('/api/incidents')).toContain('"id":"INC-1"');
      },
      'Connect Slack': async () => {
        expect(
          await collector.machine.expect('systemctl show --property=StatusText plasmawatch-collector'),
        ).not.toMatch(/restart|refused/);
      },
      'Look after incidents': async () => {
        expect(await ask('/api/audit?subject=INC-1')).toContain('"action":"incident.resolve"');
      },
      'Tell nobody for a while': async () => {
        expect(await ask('/api/silences')).toMatch(/auditors/);
      },
      'Give agents certificates': async () => {
        await waitFor(
          async () =>
            (await node.machine.expect('systemctl show --property=StatusText plasmawatch-agent')).includes(
              'collector connected',
            ),
          'the agent with its certificate',
        );
        // The commands for people cannot show a certificate yet: the rest of the pages is for a collector that asks for none.
        await collector.machine.expect(
          `sed -i '/clientCa/d' /etc/plasmawatch/collector.yaml && systemctl restart plasmawatch-collector`,
        );
      },
      'Give each agent a key of its own': async () => {
        expect(await node.machine.expect('ls /var/lib/plasmawatch/agent')).toContain('agent.key');
        // The one-time token and the shared one are gone, and the agent needs neither.
        await node.machine.expect('systemctl restart plasmawatch-agent');
        await waitFor(
          async () => (await ask('/api/agents')).includes('"state":"connected"'),
          'the agent with its key',
        );
      },
      'Keep the rules in one place': async () => {
        await waitFor(
          async () => /"version":\d{9}/.test(await ask('/api/agents')),
          'the rules on the node',
          60_000,
        );
      },
      'Back up and restore': async () => {
        expect(await ask('/api/incidents/INC-1')).toContain('198.18.0.66');
      },
      Uninstall: async () => {
        for (const { machine } of [collector, node]) {
          const left = await machine.expect(
            `find / -xdev -name '*plasmawatch*' -not -path '/home/*' -not -path '/proc/*' -not -path '/usr/lib/node_modules/*'`,
          );
          expect(left).toBe('');
        }
      },
    };

    it.each(JOURNEY)(
      'comes through %s, "%s"',
      async (...step) => {
        expect(stuckAt, 'a section before').toBeUndefined();
        stuckAt = step[1];
        for (const block of blocksOf(step)) await follow(block);
        await after[step[1]]?.();
        stuckAt = undefined;
      },
      120_000,
    );
  },
);

/** There is no Ray on the machines: the person names the members by their addresses. */
const RULES = `version: 1
services: { object-manager: ${OBJECT_MANAGER_PORT} }
groups: { cluster: { cidr: [198.18.0.0/26] } }
allow: [{ name: nodes exchange objects, from: cluster, to: object-manager }]
`;

/** Moves 200 kB to the node's object manager, as nobody may. */
const INTRUSION = `
  const socket = require('node:net').connect(${OBJECT_MANAGER_PORT}, '198.18.0.3', () => socket.end(Buffer.alloc(200_000)));
  socket.resume().setTimeout(10_000, () => process.exit(1));`;

/** What only the reader knows. */
function fillIn(text: string): string {
  return text.replaceAll('https://hooks.slack.com/services/…', SLACK);
}

/** Starts a server on the machine, and waits until it listens. */
async function serve(machine: Machine, name: string, script: string): Promise<void> {
  machine.write(`/opt/${name}.js`, script);
  await machine.expect(`systemd-run --quiet --unit=${name} node /opt/${name}.js`);
}
