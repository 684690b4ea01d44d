import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Anomaly } from '../../common/event.ts';
import { packagePath } from '../../common/package.ts';
import { runCli } from '../support/run-cli.ts';

/** What a recording's truth file says of it (only what is used here). */
interface Truth {
  readonly members: readonly string[];
  readonly objectManagerPorts: readonly string[];
  readonly hosts: readonly { name: string; role: string; ip: string }[];
  readonly recordings: readonly {
    readonly file: string;
    readonly flows: readonly {
      readonly client: string;
      readonly server: string;
      readonly port: number;
      readonly connections: number;
      readonly verdict: 'expected' | 'unexpected-peer' | 'unexpected-destination';
    }[];
  }[];
}

/** The project's own copies, and beside the project all recordings they were chosen from. */
const folders = ['pcaps', '../shared/pcaps/ray']
  .map((path) => packagePath(path))
  .filter((path) => existsSync(path));

describe.each(folders)('replay of the recordings in %s', (folder) => {
  const rulesFolder = mkdtempSync(join(tmpdir(), 'plasmawatch-rules-'));
  afterAll(() => rmSync(rulesFolder, { recursive: true }));

  const recordings = readdirSync(folder)
    .filter((name) => name.endsWith('.truth.json'))
    .flatMap((name) => {
      const truth = JSON.parse(readFileSync(join(folder, name), 'utf8')) as Truth;
      return truth.recordings.map((recording) => ({ truth, recording, file: recording.file }));
    })
    .filter(({ file }) => existsSync(join(folder, file)));

  it('finds every pcap in a truth file', () => {
    const pcaps = readdirSync(folder).filter((name) => name.endsWith('.pcap'));
    expect(recordings.map(({ file }) => file).toSorted()).toEqual(pcaps.toSorted());
  });

  describe.each(recordings)('$file', ({ truth, recording, file }) => {
    let anomalies: Anomaly[] = [];
    let problems = '';
    let status = 0;
    let summary: Record<string, unknown> = {};

    beforeAll(async () => {
      const rules = join(rulesFolder, `${file}.yaml`);
      writeFileSync(rules, rulesFor(truth));
      const result = await runCli(['replay', '--json', '--rules', rules, join(folder, file)]);
      const lines = result.stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, unknown>);
      problems = result.stderr;
      status = result.status;
      summary = lines.pop() ?? {};
      anomalies = lines as unknown as Anomaly[];
    });

    it('reports every unexpected connection of the truth, of its kind, and nothing else', () => {
      const expected = recording.flows
        .filter(({ verdict }) => verdict !== 'expected')
        .map(({ verdict, client, server, port, connections }) => ({
          kind: verdict,
          client,
          server,
          port,
          connections,
        }));
      const reported = anomalies.map(({ kind, flow, count }) => ({
        kind,
        client: flow?.source.ip,
        server: flow?.destination.ip,
        port: flow?.destination.port,
        connections: count,
      }));
      expect(sorted(reported)).toEqual(sorted(expected));
    });

    it('is critical of who was answered, and warns of who was not', () => {
      for (const { severity, flow } of anomalies) {
        const isAttempt = ['attempt', 'refused'].includes(flow?.plasmawatch.state ?? '');
        expect(severity).toBe(isAttempt ? 'warning' : 'critical');
      }
    });

    it('answers with status 1 when something was found, else 0, and counts it in the summary', () => {
      expect({ status, problems }).toEqual({ status: anomalies.length === 0 ? 0 : 1, problems: '' });
      expect(summary).toMatchObject({ type: 'summary', files: 1, anomalies: anomalies.length });
    });
  });
});

/** Rules that allow the recording's members, and nobody else, to reach the members' object managers. */
function rulesFor({ members, objectManagerPorts }: Truth): string {
  const ports = new Set(
    objectManagerPorts.map((endpoint) => Number(endpoint.slice(endpoint.lastIndexOf(':') + 1))),
  );
  return JSON.stringify({
    version: 1,
    services: { 'object-manager': [...ports] },
    groups: { cluster: { hosts: members } },
    allow: [{ name: 'nodes exchange objects', from: 'cluster', to: 'object-manager' }],
  });
}

function sorted<Item>(items: readonly Item[]): Item[] {
  return items.toSorted((a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b)));
}
