/**
 * Recordings of several versions of Ray: each holds 24 transfers between three nodes with random ports, and four unknown
 * peers who call Pull at w1. Whatever the version, those four are reported, and nothing else.
 */
import { existsSync, readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findRaylets } from '../../agent/ray/raylet.ts';
import type { Anomaly } from '../../common/event.ts';
import { packagePath } from '../../common/package.ts';
import { watchRecording } from '../support/recorded-cluster.ts';
import { RecordedVersion } from '../support/recorded-version.ts';
import { runCli } from '../support/run-cli.ts';

const RULES = 'version: 1\nallow: [{ name: nodes exchange objects, from: cluster, to: object-manager }]\n';
const UNKNOWN_PEERS = [101, 104, 107, 110].map((number) => `10.78.9.${number}`);
const SUFFIX = '.raylet-w1.json';

/** The project's own, and what lies of others beside the project. */
const recordings = ['pcaps/ray-versions', '../shared/pcaps/ray-versions']
  .map((path) => packagePath(path))
  .filter((folder) => existsSync(folder))
  .flatMap((folder) => readdirSync(folder).map((file) => join(folder, file)))
  .filter((path) => path.endsWith(SUFFIX))
  .map((path) => path.slice(0, -SUFFIX.length))
  .filter((path, index, all) => all.findIndex((other) => basename(other) === basename(path)) === index);

/** What a person is told, without the words. */
function facts(anomalies: readonly Anomaly[]): object[] {
  return anomalies
    .map(({ kind, severity, count, flow, verdict }) => ({
      kind,
      severity,
      count,
      reason: verdict?.reason,
      source: flow?.source.ip,
      destination: `${flow?.destination.ip}:${flow?.destination.port}`,
    }))
    .toSorted((a, b) => String(a.source).localeCompare(String(b.source)));
}

it('the recordings of four versions are part of the project', () => {
  const own = recordings.filter((prefix) => prefix.startsWith(packagePath('pcaps/')));
  expect(own.length).toBeGreaterThanOrEqual(4);
});

describe.each(recordings)('%s', (prefix) => {
  let proc = '';
  let version: RecordedVersion;
  beforeAll(async () => {
    proc = await mkdtemp(join(tmpdir(), 'plasmawatch-proc-'));
    version = await RecordedVersion.read(prefix);
  });
  afterAll(() => rm(proc, { recursive: true }));

  const expected = (): object[] =>
    UNKNOWN_PEERS.map((source) => ({
      kind: 'unexpected-peer',
      severity: 'critical',
      count: 1,
      reason: 'no-rule',
      source,
      destination: `${version.address}:${version.objectManagerPort}`,
    }));

  it('replayed, shows the four unknown peers and nothing else', async () => {
    const words = ['replay', '--json', '--rules', version.rules, version.capture];
    const { status, stdout, stderr } = await runCli(words);
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Anomaly);
    expect({ status, stderr, summary: lines.at(-1) }).toMatchObject({
      status: 1,
      stderr: '',
      summary: { type: 'summary', anomalies: UNKNOWN_PEERS.length },
    });
    expect(facts(lines.slice(0, -1))).toEqual(expected());
  });

  it.each([
    ['started once', 1],
    ['started for the third time in its session', 3],
  ])('watched by an agent beside a raylet that was %s, shows the same', async (title, starts) => {
    const folder = join(proc, title);
    await version.writeProc(folder, starts);
    const search = { proc: folder, trust: { users: new Set([process.getuid?.() ?? 0]) } };
    const { objectManagerPort, address } = version;
    expect(await findRaylets(search)).toMatchObject([
      { isProven: true, nodeAddress: address, objectManagerPort, how: 'log' },
    ]);
    const anomalies = await watchRecording({
      path: version.capture,
      node: 'w1',
      addresses: [address],
      rules: RULES,
      summaryAt: () => version.summary,
      findRaylets: () => findRaylets(search),
    });
    expect(facts(anomalies)).toEqual(expected());
  });
});
