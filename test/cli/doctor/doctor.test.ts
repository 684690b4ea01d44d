import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { check, type Check } from '../../../cli/doctor/check.ts';
import { type DoctorDependencies, runDoctor } from '../../../cli/doctor/doctor.ts';
import { judgeRoom } from '../../../cli/doctor/disk.ts';
import { PlasmawatchError } from '../../../common/errors.ts';
import { openDatabase } from '../../../common/sqlite.ts';
import { sampleRaylet } from '../../support/sample-raylet.ts';

const HEALTHY: DoctorDependencies = {
  nodeVersion: '20.19.0',
  probeCapture: () =>
    Promise.resolve([
      { name: 'ring', available: true, reason: 'kernel packet ring' },
      { name: 'cap', available: false, reason: 'no libpcap', fix: 'apt install libpcap-dev' },
    ]),
  readCapabilities: () => Promise.resolve({ netRaw: true, bpf: false, sysPtrace: true, dacReadSearch: true }),
  openDatabase,
  findRaylets: () => Promise.resolve([sampleRaylet()]),
  networkInterfaces: () => ({ lo: [] }),
  examineDisk: () => Promise.resolve(judgeRoom('/var/lib/spool.db', 2 ** 30)),
  examineMembership: () => Promise.resolve([]),
  examineAgent: () => Promise.resolve([]),
};

const withoutCapture: DoctorDependencies['probeCapture'] = () =>
  Promise.resolve([{ name: 'ring', available: false, reason: 'socket: EPERM', fix: 'run it with sudo' }]);
const withoutDatabase: DoctorDependencies['openDatabase'] = () =>
  Promise.reject(new PlasmawatchError('PW_SQLITE_UNAVAILABLE', 'no SQLite engine'));

const ports = (isConfirmed: boolean): Check => check('ports', isConfirmed, 'object-manager port 43800');

async function examine(
  json: boolean,
  changes: Partial<DoctorDependencies> = {},
): Promise<{ status: number; lines: string[] }> {
  let text = '';
  const stdout = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString();
      done();
    },
  });
  const status = await runDoctor({ json }, { stdout }, { ...HEALTHY, ...changes });
  return { status, lines: text.trimEnd().split('\n') };
}

describe('doctor', () => {
  it('writes one JSON object a check, and a fix only for what is missing', async () => {
    const { lines } = await examine(true);
    const checks = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(checks.map(({ type, name, ok, fix }) => [type, name, ok, fix])).toEqual([
      ['check', 'node', true, null],
      ['check', 'sqlite', true, null],
      ['check', 'disk', true, null],
      [
        'check',
        'platform',
        process.platform === 'linux',
        process.platform === 'linux' ? null : 'run the agent on Linux',
      ],
      ['check', 'capabilities', true, null],
      ['check', 'capture ring', true, null],
      ['check', 'capture cap', false, 'apt install libpcap-dev'],
      ['check', 'raylet', true, null],
      ['check', 'processes', true, null],
      ['check', 'interfaces', true, null],
    ]);
  });

  it('tells people where a port comes from, and what to do', async () => {
    const { lines } = await examine(false);
    expect(lines).toContain(
      'ok       raylet        pid 6316, 10.77.0.11, object manager 36875 (from its log), node manager unknown',
    );
    expect(lines).toContain('missing  capture cap   no libpcap');
    expect(lines).toContain('                       → apt install libpcap-dev');
    expect(lines.at(-1)).toBe('An agent can work here.');
  });

  it('names what is missing to look into the processes of others, and a raylet that is not proven', async () => {
    const { lines } = await examine(false, {
      readCapabilities: () =>
        Promise.resolve({ netRaw: true, bpf: true, sysPtrace: true, dacReadSearch: false }),
      findRaylets: () => Promise.resolve([sampleRaylet({ isProven: false, doubt: 'user' })]),
    });
    expect(lines).toContain(
      'missing  processes     of connections of other users only the user can be named: CAP_DAC_READ_SEARCH missing',
    );
    expect(lines).toContain(
      'missing  raylet        pid 6316, 10.77.0.11, object manager 36875 (from its log), node manager unknown; user 1000; not proven, so it names no members: its user is not one who is trusted with a raylet',
    );
    expect(lines.at(-1)).toBe('An agent can work here.');
  });

  it.each([
    ['nothing is missing but one of two ways', {}, 0],
    [
      'raylets cannot be looked for',
      { findRaylets: () => Promise.reject(new PlasmawatchError('PW_SYSTEM_CALL', 'they are hidden')) },
      0,
    ],
    ['there is no raylet yet', { findRaylets: () => Promise.resolve([]) }, 0],
    ['no way of capturing works', { probeCapture: withoutCapture }, 1],
    ['there is no SQLite engine', { openDatabase: withoutDatabase }, 1],
    ['the disk is full', { examineDisk: () => Promise.resolve(judgeRoom('/var/lib/spool.db', 0)) }, 1],
    ['Node is too old', { nodeVersion: '20.18.1' }, 1],
    ['Node is newer', { nodeVersion: '24.0.0' }, 0],
    ['the port is a guess', { examineMembership: () => Promise.resolve([ports(false)]) }, 1],
    ['the port is confirmed', { examineMembership: () => Promise.resolve([ports(true)]) }, 0],
    ['the agent guesses its port', { examineAgent: () => Promise.resolve([ports(false)]) }, 1],
    [
      'the agent does not know the members yet',
      { examineAgent: () => Promise.resolve([check('members known', false, 'no list')]) },
      1,
    ],
  ] satisfies [string, Partial<DoctorDependencies>, number][])(
    'answers with its status when %s',
    async (_, changes, status) => {
      expect((await examine(false, changes)).status).toBe(status);
    },
  );

  it('does not hide a fault of our own', async () => {
    const broken = { openDatabase: () => Promise.reject(new TypeError('our own mistake')) };
    await expect(examine(true, broken)).rejects.toThrow('our own mistake');
  });
});
