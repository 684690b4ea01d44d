import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  describeSchema,
  durationMs,
  loadYamlFile,
  MAX_CONFIG_BYTES,
  parseYaml,
  sizeBytes,
} from '../../common/config-file.ts';

const receiver = z.strictObject({
  url: z.string().describe('Where to send.'),
  retries: z.number().int().min(0).max(9).optional().describe('How often to try again.'),
});
const schema = z.strictObject({
  name: z.string().min(1).max(20).describe('What it is called.'),
  interval: durationMs({ min: '1s', max: '1h' }).prefault('30s').describe('How often to look.'),
  limit: sizeBytes().optional().describe('How much to keep.'),
  level: z.enum(['debug', 'info', 'error']).optional(),
  enabled: z.boolean().optional(),
  receivers: z.array(receiver).min(1).max(3).optional(),
  ports: z.record(z.string(), z.union([z.literal('auto'), z.number()])).optional(),
  target: z.union([z.string(), receiver]).optional(),
});

/** `line:column message` of every problem. */
function problemsOf(text: string): string[] {
  const { value, diagnostics } = parseYaml(schema, text, 'agent.yaml');
  expect(value === undefined).toBe(diagnostics.length > 0);
  return diagnostics.map(({ line, column, message }) => `${line}:${column} ${message}`);
}

describe('parseYaml', () => {
  it('gives the value of a right file, with the defaults of what is left out', () => {
    expect(
      parseYaml(schema, 'name: a\nlimit: 5MiB\nports: { gcs: auto, dashboard: 8265 }\n', 'a'),
    ).toMatchObject({
      value: { name: 'a', interval: 30_000, limit: 5_242_880, ports: { gcs: 'auto', dashboard: 8265 } },
      diagnostics: [],
    });
  });

  it('tells all problems, in the order of the file', () => {
    const text = 'nmae: a\nlevel: loud\nreceivers:\n  - url: 5\n    retrys: 3\n  - retries: 10\n';
    expect(problemsOf(text)).toEqual([
      '1:1 missing key `name`',
      '1:1 unknown key `nmae`; did you mean `name`?',
      '2:8 `level`: expected `debug`, `info` or `error`, got `loud`',
      '4:10 `url`: expected text, got the number 5; write it in quotes',
      '5:5 unknown key `retrys`; did you mean `retries`?',
      '6:5 missing key `url`',
      '6:14 `retries`: expected at most 9, got the number 10',
    ]);
  });

  it.each([
    ['name: [a]', '1:7 `name`: expected text, got a list'],
    ['name: {a: b}', '1:7 `name`: expected text, got a mapping'],
    ['name:', '1:6 `name`: expected text, got nothing'],
    ['name: ""', '1:7 `name`: expected text that is not empty, got empty text'],
    [
      'name: a-name-of-more-than-20-characters',
      '1:7 `name`: expected at most 20 characters, got `a-name-of-more-than-20-characters`',
    ],
    ['name: a\nenabled: yes', '2:10 `enabled`: expected `true` or `false`, got `yes`'],
    ['name: a\nreceivers: []', '2:12 `receivers`: expected at least 1 entry, got an empty list'],
    [
      'name: a\nreceivers: [{url: a}, {url: a}, {url: a}, {url: a}]',
      '2:12 `receivers`: expected at most 3 entries, got 4',
    ],
    ['name: a\nreceivers: a', '2:12 `receivers`: expected a list, got `a`'],
    ['name: a\nports: { gcs: [] }', '2:15 `gcs`: expected `auto` or a number, got an empty list'],
    [
      'name: a\nunrelated: 1',
      '2:1 unknown key `unrelated`; known: name, interval, limit, level, enabled, receivers, ports, target',
    ],
    ['- a', '1:1 expected a mapping, got a list'],
    ['just words', '1:1 expected a mapping, got `just words`'],
  ])('says of %j: %s', (text, problem) => {
    expect(problemsOf(text)).toEqual([problem]);
  });

  it('tells the inner problems of the one kind in a union that fits', () => {
    expect(problemsOf('name: a\ntarget: { url: a, retries: many }')).toEqual([
      '2:28 `retries`: expected a number, got `many`',
    ]);
  });

  it('cuts a long offending text', () => {
    const [problem = ''] = problemsOf(`name: a\nlevel: ${'x'.repeat(1000)}`);
    expect(problem.length).toBeLessThan(200);
    expect(problem).toContain('xxx…');
  });

  it('points at the alias where what it stands for is wrong there', () => {
    expect(problemsOf('name: &n [1]\ntarget: *n')).toEqual([
      '1:10 `name`: expected text, got a list',
      '2:9 `target`: expected text or a mapping, got a list',
    ]);
  });

  it('finds the places of values and keys for further checks', () => {
    const { locate } = parseYaml(schema, 'name: a\nreceivers:\n  - url: b\n', 'a.yaml');
    expect(locate(['receivers', 0, 'url'])).toEqual({ file: 'a.yaml', line: 3, column: 10, length: 1 });
    expect(locate(['receivers', 0, 'url'], 'key')).toEqual({ file: 'a.yaml', line: 3, column: 5, length: 3 });
    expect(locate(['receivers', 7, 'url'])).toMatchObject({ line: 3, column: 3 });
  });

  it('bounds depth, whichever way it is nested', () => {
    const deep = ['['.repeat(100_000), '{a: '.repeat(100_000), '- '.repeat(100_000), '? '.repeat(100_000)];
    for (const text of deep) {
      expect(problemsOf(text)).toEqual([expect.stringContaining('nested deeper than 32 levels')]);
    }
  });

  it('bounds what aliases can make of a short file', () => {
    const lines = ['name: &a0 [x, x, x, x, x, x, x, x, x, x]'];
    for (let level = 1; level < 9; level++) {
      lines.push(
        `k${level}: &a${level} [${Array(10)
          .fill(`*a${level - 1}`)
          .join(', ')}]`,
      );
    }
    expect(problemsOf(lines.join('\n'))).toEqual([expect.stringContaining('more than 100 aliases')]);
  });

  it('refuses a text of more than 1 MiB', () => {
    expect(problemsOf(`name: a # ${'x'.repeat(MAX_CONFIG_BYTES)}`)).toEqual([
      '0:0 larger than 1048576 bytes',
    ]);
  });

  it('tells at most a hundred problems', () => {
    const keys = Array.from({ length: 500 }, (_, index) => `unknown${index}: 1`).join('\n');
    expect(problemsOf(`name: a\n${keys}`)).toHaveLength(100);
  });

  it('refuses keys that mean something to JavaScript', () => {
    expect(problemsOf('name: a\nports: { __proto__: 5 }')).toEqual(['2:10 expected a plain word as key']);
    expect(parseYaml(schema, 'name: a\nports: { constructor: 5 }', 'a').value?.ports).toEqual({
      constructor: 5,
    });
  });

  it('never throws, and places every problem within the text', () => {
    const piece = fc.constantFrom(
      'name',
      'receivers',
      ':',
      ' ',
      '\n',
      '- ',
      '[',
      ']',
      '{',
      '}',
      '"',
      "'",
      '&a',
      '*a',
      '!x',
      '#',
      '|',
      '\t',
      '---',
      '?',
      'é',
      '1',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(piece, { maxLength: 40 }).map((all) => all.join('')),
        ),
        (text) => {
          const { diagnostics } = parseYaml(schema, text, 'f');
          const lines = text.split('\n').length;
          for (const { line, column } of diagnostics) {
            expect(line).toBeLessThanOrEqual(lines);
            expect(line === 0).toBe(column === 0);
          }
        },
      ),
    );
  });
});

describe('durationMs and sizeBytes', () => {
  it.each([
    [
      'interval: 30',
      '`interval`: expected a duration such as `500ms`, `30s`, `10m`, `24h` or `7d`, got the number 30',
    ],
    [
      'interval: 30 seconds',
      '`interval`: expected a duration such as `500ms`, `30s`, `10m`, `24h` or `7d`, got `30 seconds`',
    ],
    ['interval: 2h', '`interval`: expected 1s to 1h, got `2h`'],
    ['limit: 5gib', '`limit`: expected a size such as `512MiB` or `5GB`, got `5gib`'],
  ])('say of %s: %s', (text, problem) => {
    expect(problemsOf(`name: a\n${text}`)[0]).toMatch(/^2:\d+ /);
    expect(problemsOf(`name: a\n${text}`)[0]).toContain(problem);
  });

  it('say that a required one is missing', () => {
    const { diagnostics } = parseYaml(z.strictObject({ a: z.number(), every: durationMs() }), 'a: 1', 'f');
    expect(diagnostics.map(({ message }) => message)).toEqual(['missing key `every`']);
  });
});

describe('describeSchema', () => {
  it('describes what people write, and not what the program gets', () => {
    expect(describeSchema(schema, 'agent')).toMatchObject({
      title: 'agent',
      additionalProperties: false,
      required: ['name'],
      properties: {
        name: { type: 'string', description: 'What it is called.' },
        interval: {
          type: 'string',
          default: '30s',
          pattern: expect.stringContaining('ms|s|m|h|d') as string,
        },
      },
    });
  });
});

describe('loadYamlFile', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-config-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('reads the value, and keeps the text for messages', async () => {
    const path = join(folder, 'right.yaml');
    await writeFile(path, 'name: ä\n');
    expect(await loadYamlFile(schema, path)).toMatchObject({ value: { name: 'ä' }, source: 'name: ä\n' });
  });

  it('takes a byte order mark for no part of the text', async () => {
    const path = join(folder, 'mark.yaml');
    await writeFile(path, '\uFEFFname: a\n');
    expect((await loadYamlFile(schema, path)).value?.name).toBe('a');
  });

  it('says why a file cannot be read, without a place', async () => {
    const binary = join(folder, 'binary.yaml');
    await writeFile(binary, Buffer.from([0x6e, 0xff, 0xfe]));
    const large = join(folder, 'large.yaml');
    await writeFile(large, Buffer.alloc(MAX_CONFIG_BYTES + 1, '#'));
    const cases = [
      [join(folder, 'absent.yaml'), 'cannot be read: no such file'],
      [folder, 'cannot be read: it is a folder'],
      [binary, 'not UTF-8 text'],
      [large, 'larger than 1048576 bytes'],
    ] as const;
    for (const [path, message] of cases) {
      const { value, diagnostics, source } = await loadYamlFile(schema, path);
      expect({ value, source }).toEqual({ value: undefined, source: '' });
      expect(diagnostics).toEqual([
        { file: path, line: 0, column: 0, length: 0, severity: 'error', message },
      ]);
    }
  });
});
