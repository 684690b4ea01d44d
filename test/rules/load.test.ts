import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadRules } from '../../rules/load.ts';
import { FakeClock } from '../support/fake-clock.ts';

const clock = new FakeClock(Date.UTC(2026, 10, 23));
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plasmawatch-rules-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function write(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}

function allow(name: string, from = 'cluster', to = 'object-manager'): string {
  return `version: 1\nallow:\n  - { name: ${name}, from: ${from}, to: ${to} }\n`;
}

describe('loadRules', () => {
  it('loads a file, with the fingerprint that sha256sum tells', async () => {
    const text = allow('nodes');
    const path = await write('rules.yaml', text);
    const { ruleset, diagnostics, sources, fingerprint } = await loadRules(path, { clock });
    expect(diagnostics).toEqual([]);
    expect(ruleset?.rules).toMatchObject([
      { name: 'nodes', from: ['cluster'], to: ['object-manager'], file: path, line: 3 },
    ]);
    expect(sources).toEqual(new Map([[path, text]]));
    expect(fingerprint).toBe(createHash('sha256').update(text).digest('hex'));
  });

  it.each(['ray_head', '_ray._tcp.example', 'ray_head_1.my_net.example.', 'a-b_c', 'x_'])(
    'takes the host name %s',
    async (name) => {
      const text = `${allow('nodes')}groups: { g: { hosts: ['${name}'] }, h: { dns: '${name}' } }\n`;
      const { diagnostics } = await loadRules(await write('rules.yaml', text), { clock });
      expect(diagnostics).toEqual([]);
    },
  );

  it.each([
    ['0x7f.1', 'expected'],
    ['-a.example', 'expected'],
    ['bücher.example', '`bücher.example` is not ASCII; write `xn--bcher-kva.example`'],
    ['例え.テスト.', '`例え.テスト.` is not ASCII; write `xn--r8jz45g.xn--zckzah.`'],
  ])('refuses the host name %s', async (name, problem) => {
    for (const source of [`hosts: ['${name}']`, `dns: '${name}'`]) {
      const text = `${allow('nodes')}groups: { g: { ${source} } }\n`;
      const { diagnostics } = await loadRules(await write('rules.yaml', text), { clock });
      expect(diagnostics.map(({ message }) => message)).toEqual([expect.stringContaining(problem)]);
    }
  });

  it.each([
    ['::ffff:10.0.0.1', '`::ffff:10.0.0.1` is IPv4 written as IPv6; write `10.0.0.1`'],
    ['::ffff:10.0.0.0/104', '`::ffff:10.0.0.0/104` is IPv4 written as IPv6; write `10.0.0.0/8`'],
    ['::ffff:a00:0/104', '`::ffff:a00:0/104` is IPv4 written as IPv6; write `10.0.0.0/8`'],
  ])('says of %s what to write, wherever it stands', async (address, expected) => {
    for (const source of [`cidr: ['${address}']`, `hosts: ['${address}']`, `dns: '${address}'`]) {
      const text = `${allow('nodes')}groups: { g: { ${source} } }\n`;
      const { diagnostics } = await loadRules(await write('rules.yaml', text), { clock });
      expect(diagnostics.map(({ message }) => message)).toEqual([expect.stringContaining(expected)]);
    }
  });

  it.each(['a.YAML', 'a.YML', 'a.Yaml', 'a.yMl'])('reads %s of a folder', async (name) => {
    await write(name, allow('nodes'));
    const { ruleset, diagnostics } = await loadRules(folder, { clock });
    expect(diagnostics).toEqual([]);
    expect(ruleset?.rules.map((rule) => rule.name)).toEqual(['nodes']);
  });

  it('warns of what it does not read in a folder, by its name', async () => {
    const names = ['b.json', 'c.yaml.bak', 'd.yaml~', 'e.yml.txt', 'f.yaml.disabled', 'rules.toml'];
    await write('a.yaml', allow('nodes'));
    for (const name of [...names, 'LICENSE', 'notes.md', 'allowlist.schema.json', '.a.yaml.swp'])
      await write(name, 'x');
    await mkdir(join(folder, 'more'));
    const { ruleset, diagnostics } = await loadRules(folder, { clock });
    expect(ruleset?.rules).toHaveLength(1);
    expect(diagnostics).toEqual([
      {
        file: folder,
        line: 0,
        column: 0,
        length: 0,
        severity: 'warning',
        message:
          'not read: b.json, c.yaml.bak, d.yaml~, e.yml.txt, f.yaml.disabled and 2 more; only files that end in .yaml or .yml are',
      },
    ]);
  });

  it('joins the YAML files of a folder in the order of their names', async () => {
    await write('20-users.yml', `${allow('users', 'notebooks', 'metrics')}services: { metrics: 9100 }\n`);
    await write('10-nodes.yaml', `${allow('nodes')}groups: { notebooks: { cidr: [10.20.0.0/24] } }\n`);
    await write('30-OLD.YML', 'version: 1\nservices: { old: 9101 }\n');
    await write('.hidden.yaml', 'not: rules');
    await write('README.md', 'not rules');
    await mkdir(join(folder, '..data'));
    const { ruleset, diagnostics } = await loadRules(folder, { clock });
    expect(diagnostics).toEqual([]);
    expect(ruleset?.rules.map(({ name }) => name)).toEqual(['nodes', 'users']);
    expect(ruleset?.services.has('old')).toBe(true);
    expect([...(ruleset?.groups.keys() ?? [])]).toEqual(['notebooks', 'cluster']);
  });

  it('names both places of what two files define', async () => {
    const first = await write(
      'a.yaml',
      `${allow('nodes')}groups: { notebooks: { hosts: [a] } }\nservices: { metrics: 1 }\nevidence: { packets: 4 }\nmembers: approved\napproved: { ids: [a] }\n`,
    );
    const second = await write(
      'b.yaml',
      `${allow('nodes')}groups: { notebooks: { hosts: [b] } }\nservices: { metrics: 2 }\nevidence: { packets: 8 }\nmembers: listed\napproved: { ids: [b] }\n`,
    );
    const { ruleset, diagnostics } = await loadRules(folder, { clock });
    expect(ruleset).toBeUndefined();
    expect(diagnostics.filter(({ severity }) => severity === 'error')).toMatchObject([
      { file: second, line: 3, message: `a rule named \`nodes\` is defined twice; first in ${first}:3:13` },
      { file: second, line: 4, message: `group \`notebooks\` is defined twice; first in ${first}:4:11` },
      { file: second, line: 5, message: `service \`metrics\` is defined twice; first in ${first}:5:13` },
      { file: second, line: 6, message: `\`evidence\` is defined twice; first in ${first}:6:1` },
      { file: second, line: 7, message: `\`members\` is defined twice; first in ${first}:7:1` },
      { file: second, line: 8, message: `\`approved\` is defined twice; first in ${first}:8:1` },
    ]);
  });

  it('tells the faults of every file, and no unknown names while one cannot be read', async () => {
    await write('a.yaml', allow('users', 'notebooks'));
    await write('b.yaml', 'version: 1\ngroups: { notebooks: { cidr: [10.0.0.1/8] } }\n');
    await write('c.yaml', 'version: 2\n');
    const { diagnostics } = await loadRules(folder, { clock });
    expect(diagnostics.map(({ file, line }) => `${file.slice(-6)}:${line}`)).toEqual([
      'b.yaml:2',
      'c.yaml:1',
    ]);
  });

  it('says why there are no rules at a path', async () => {
    const absent = join(folder, 'absent.yaml');
    expect((await loadRules(absent, { clock })).diagnostics).toMatchObject([
      { file: absent, line: 0, message: 'cannot be read: no such file' },
    ]);
    expect((await loadRules(folder, { clock })).diagnostics).toMatchObject([
      { file: folder, line: 0, message: 'the folder holds no *.yaml or *.yml file' },
    ]);
  });

  it('warns of a rule that has ended by the clock it is given', async () => {
    const path = await write(
      'rules.yaml',
      'version: 1\nallow: [{ name: a, from: cluster, to: gcs, until: 2026-11-22 }]\n',
    );
    const warningsAt = async (nowMs: number): Promise<number> =>
      (await loadRules(path, { clock: new FakeClock(nowMs) })).diagnostics.length;
    const endMs = Date.UTC(2026, 10, 23);
    expect([await warningsAt(endMs - 1), await warningsAt(endMs)]).toEqual([0, 1]);
  });
});

describe('a file with very many mistakes', () => {
  it('is told of in messages that are few and short, however many names it knows and does not know', async () => {
    const groups = Array.from({ length: 5000 }, (_, index) => `  group-${index}: { hosts: [a] }`);
    const from = Array.from({ length: 100 }, (_, index) => `other-${index}`).join(', ');
    const rules = Array.from(
      { length: 400 },
      (_, index) => `  - { name: r${index}, from: [${from}], to: gcs }`,
    );
    const text = ['version: 1', 'groups:', ...groups, 'allow:', ...rules, ''].join('\n');
    const { diagnostics } = await loadRules(await write('rules.yaml', text), { clock });
    expect(diagnostics).toHaveLength(100);
    expect(Math.max(...diagnostics.map(({ message }) => message.length))).toBeLessThan(2000);
  });
});
