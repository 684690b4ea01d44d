import { describe, expect, it } from 'vitest';
import { findServicePorts, type ServicePortsOfNode } from '../../../agent/ray/service-ports.ts';

const FOLDER = '/tmp/ray/session';
const WORKER_COMMAND =
  'python3 default_worker.py --temp-dir=/tmp/ray --webui=10.77.0.10:8266 --cluster-id=aa';

/** The ports of a raylet with these options and these files in its session's folder. */
function find(
  options: Readonly<Record<string, string>>,
  files: Readonly<Record<string, string>> = {},
): Promise<ServicePortsOfNode> {
  return findServicePorts({
    options: new Map(Object.entries(options)),
    sessionFolder: FOLDER,
    nodeId: 'aa',
    readText: (path) => Promise.resolve(files[path.replace(`${FOLDER}/`, '')]),
  });
}

describe('findServicePorts', () => {
  it("takes the agents' ports from the session's files where they were left to chance", async () => {
    const files = {
      dashboard_agent_listen_port_aa: '52365',
      metrics_agent_port_aa: '37831',
      metrics_export_port_aa: '33973\n',
      runtime_env_agent_port_aa: '40213',
      metrics_agent_port_bb: '1',
    };
    expect(await find({ 'metrics-agent-port': '0' }, files)).toEqual({
      agentPorts: new Map([
        ['dashboard-agent', 52_365],
        ['dashboard-agent-grpc', 37_831],
        ['metrics-export', 33_973],
        ['runtime-env-agent', 40_213],
      ]),
    });
  });

  it('takes them from the command line where they stand there, whatever a file says', async () => {
    const options = {
      dashboard_agent_command: 'python3 agent.py --grpc-port=0 --listen-port=52366 --temp-dir=/tmp/ray',
      'metrics-agent-port': '37831',
      metrics_export_port: '8080',
      runtime_env_agent_port: '0',
    };
    expect((await find(options, { metrics_export_port_aa: '22' })).agentPorts).toEqual(
      new Map([
        ['dashboard-agent', 52_366],
        ['dashboard-agent-grpc', 37_831],
        ['metrics-export', 8080],
      ]),
    );
  });

  it.each([
    ['a range', { min_worker_port: '20000', max_worker_port: '20999' }, { first: 20_000, last: 20_999 }],
    ['a list', { worker_port_list: '10004,10002,10009' }, { first: 10_002, last: 10_009 }],
    ['any port', { min_worker_port: '0', max_worker_port: '0' }, undefined],
    ['a range that is none', { min_worker_port: '9', max_worker_port: '3' }, undefined],
  ])('knows the workers of %s', async (_title, options: Record<string, string>, range) => {
    expect((await find(options)).workerPorts).toEqual(range);
  });

  it.each([
    ['is told to every worker', WORKER_COMMAND, 8266],
    ['may be missing', 'python3 default_worker.py --webui= --temp-dir=/tmp/ray', undefined],
  ])("knows the dashboard's port, which %s", async (_title, command, port) => {
    expect((await find({ python_worker_command: command })).dashboardPort).toBe(port);
  });

  it.each([
    ['10.77.0.10:8266', '10.77.0.10'],
    ['127.0.0.1:8265', '127.0.0.1'],
    ['http://127.0.0.1:8265', '127.0.0.1'],
    ['[::1]:8265', '::1'],
    ['::1:8265', '::1'],
    ['head.example.com:8265', 'head.example.com'],
    ['', undefined],
    [':8265', undefined],
    ['None', undefined],
  ])('say where the dashboard listens: %s', async (webui, host) => {
    const command = `python3 default_worker.py --webui=${webui} --temp-dir=/tmp/ray`;
    expect((await find({ python_worker_command: command })).dashboardHost).toBe(host);
  });

  it('takes a list of ports and a command of any length', async () => {
    const list = Array.from({ length: 300_000 }, () => '20000').join(',');
    const command = `python3 --webui=${':1'.repeat(500_000)}`;
    expect(await find({ worker_port_list: list, python_worker_command: command })).toEqual({
      workerPorts: { first: 20_000, last: 20_000 },
    });
  });
});
