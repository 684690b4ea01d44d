/**
 * The head of the cluster of bench/idle, as a process: a dashboard with as many nodes as it is told, an object manager, and
 * connections to the node's object manager as other nodes open them. Ends when its standard input does.
 */
import { createServer } from 'node:http';
import { connect, createServer as createTcpServer } from 'node:net';
import { fileURLToPath } from 'node:url';

export const HEAD_ADDRESS = '10.77.0.10';
export const NODE_ADDRESS = '10.77.0.11';
export const GCS_PORT = 6379;
export const DASHBOARD_PORT = 8265;
export const OBJECT_MANAGER_PORT = 43_800;
export const NODE_MANAGER_PORT = 43_801;
/** New connections a second in each direction; and those that stay open, with something every second. */
const CONNECTIONS_A_SECOND = 2;
const OPEN_CONNECTIONS = 10;

/** An object manager that answers whatever it is sent. */
export function serveObjects(port) {
  return createTcpServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(port);
}

/** The ordinary traffic to the object manager of another node. */
export function exchangeObjects(host) {
  const open = (work) => {
    const socket = connect({ host, port: OBJECT_MANAGER_PORT }, () => work(socket));
    socket.on('error', () => {});
    return socket.resume();
  };
  for (let number = 0; number < OPEN_CONNECTIONS; number++)
    open((socket) => setInterval(() => socket.write('still here'), 1000));
  const openAndClose = () => open((socket) => socket.end('an object'));
  setInterval(openAndClose, 1000 / CONNECTIONS_A_SECOND);
}

/** What a process of the bench does with its parent: it ends when the parent ends its input. */
export function endWithParent() {
  process.stdin.on('end', () => process.exit(0)).resume();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { nodes } = JSON.parse(process.argv[2]);
  serveDashboard(nodes);
  serveObjects(OBJECT_MANAGER_PORT);
  exchangeObjects(NODE_ADDRESS);
  endWithParent();
  console.log('ready');
}

/** Ray caches an answer for two seconds; one of a thousand nodes has ten megabytes. */
function serveDashboard(nodes) {
  const entries = Array.from({ length: nodes }, (_, index) => summaryOf(index));
  createServer((request, response) => {
    if (!request.url.startsWith('/nodes')) {
      response.writeHead(404).end();
      return;
    }
    // Figures of each node are new in every answer.
    const now = Date.now() / 1000;
    for (const entry of entries) Object.assign(entry, { now, cpu: Math.round(Math.random() * 1000) / 10 });
    response.setHeader('content-type', 'application/json; charset=utf-8');
    response.end(JSON.stringify({ result: true, msg: 'Node summary fetched.', data: { summary: entries } }));
  }).listen(DASHBOARD_PORT);
}

/** An entry as Ray 2.60 has it for a node without workers, field by field: 10 KB. */
function summaryOf(index) {
  const address = index === 0 ? HEAD_ADDRESS : index === 1 ? NODE_ADDRESS : addressOf(index);
  const nodeId = index.toString(16).padStart(56, '0');
  const session = '/tmp/ray/session_2026-11-23_09-38-54_650297_5042';
  const disk = { total: 270_553_174_016, used: 22_160_457_728, free: 75_632_836_608, percent: 22.7 };
  return {
    now: 0,
    hostname: `node-${index}`,
    ip: address,
    cpu: 0,
    cpus: [2, 2],
    mem: [25_276_510_208, 22_810_189_824, 9.8, 2_466_320_384],
    hostMem: [2_466_320_384, 25_276_510_208],
    cgroupMem: null,
    shm: 9_093_120,
    raylet: {
      storeStats: { objectStoreBytesAvail: '419430400' },
      coreWorkersStats: [],
      objectStoreUsedMemory: 0,
      objectStoreAvailableMemory: 419_430_400,
      nodeId,
      nodeManagerAddress: address,
      rayletSocketName: `${session}/sockets/raylet`,
      objectStoreSocketName: `${session}/sockets/plasma_store`,
      nodeManagerPort: NODE_MANAGER_PORT,
      objectManagerPort: OBJECT_MANAGER_PORT,
      nodeManagerHostname: `node-${index}`,
      metricsExportPort: 40_491,
      resourcesTotal: {
        CPU: 1,
        objectStoreMemory: 419_430_400,
        memory: 22_396_055_552,
        [`node:${address}`]: 1,
      },
      nodeName: address,
      startTimeMs: '1795426768868',
      labels: { 'ray.io/node-id': nodeId },
      runtimeEnvAgentPort: 35_223,
      stateSnapshot: { state: 'ACTIVE', idleDurationMs: '0', nodeActivity: [] },
      metricsAgentPort: 44_467,
      dashboardAgentListenPort: 52_365,
      tempDir: '/tmp/ray',
      sessionDir: session,
      state: 'ALIVE',
      instanceId: '',
      nodeTypeName: '',
      instanceTypeName: '',
      endTimeMs: '0',
      isHeadNode: index === 0,
      stateMessage: null,
    },
    agent: {
      pid: 6340,
      createTime: 1_795_426_759.44,
      cpuPercent: 0.6,
      cpuTimes: { user: 0.91, system: 0.1, childrenUser: 0, childrenSystem: 0 },
      // A process that gave itself a title leaves the room of its arguments behind.
      cmdline: ['ray::DashboardAgent', ...Array.from({ length: 1000 }, () => '')],
      memoryInfo: { rss: 125_693_952, vms: 1_384_738_816, pfaults: 34_213, pageins: null },
      memoryFullInfo: null,
      numFds: 48,
      gpuMemoryUsage: null,
      gpuUtilization: null,
    },
    bootTime: 1_795_425_778,
    loadAvg: [
      [9.4, 6.1, 2.9],
      [4.7, 3.1, 1.5],
    ],
    disk: { '/': disk, '/tmp/ray': disk },
    diskIo: [6_414_713_856, 11_878_133_760, 212_275, 67_942],
    diskIoSpeed: [3.57, 6.6, 0.000_11, 0.000_037],
    gpus: [],
    tpus: [],
    network: [134_859, 34_173],
    networkSpeed: [0.000_075, 0.000_019],
    cmdline: Array.from({ length: 40 }, (_, word) => `--option_${word}=${session}/${'x'.repeat(60)}`),
  };
}

function addressOf(index) {
  return `10.77.${1 + Math.floor(index / 250)}.${1 + (index % 250)}`;
}
