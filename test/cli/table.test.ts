import { describe, expect, it } from 'vitest';
import { cut, formatTable, widthOf, writeTable, type Column } from '../../cli/table.ts';

const COLUMNS: readonly Column[] = [
  { name: 'id' },
  { name: 'when', dropOrder: 1 },
  { name: 'size', isNumber: true, dropOrder: 2 },
  { name: 'what', isElastic: true },
];
const ROWS = [
  ['INC-1', '3 min ago', '4.1 KiB', 'Unknown peer 10.77.9.66 connected to the object manager of w1'],
  ['INC-12', 'now', '12 B', 'short'],
];

describe('a table', () => {
  it('is as wide as its cells where nothing limits it', () => {
    expect(formatTable(COLUMNS, ROWS)).toEqual([
      'id      when          size  what',
      'INC-1   3 min ago  4.1 KiB  Unknown peer 10.77.9.66 connected to the object manager of w1',
      'INC-12  now           12 B  short',
    ]);
    expect(formatTable(COLUMNS, [])).toEqual([]);
  });

  it.each([200, 80, 60, 52, 46, 40, 34, 20])('is no wider than a terminal of %i columns', (width) => {
    const lines = formatTable(COLUMNS, ROWS, { width });
    for (const line of lines) expect(widthOf(line)).toBeLessThanOrEqual(width);
    expect(lines[1]).toMatch(/^INC-1 /);
    expect(lines[1]?.endsWith(width >= 90 ? 'of w1' : '…')).toBe(true);
  });

  it('drops columns in their order before it cuts one to nothing', () => {
    const heads = [80, 48, 40, 20].map((width) => formatTable(COLUMNS, ROWS, { width })[0]?.split(/ +/));
    expect(heads).toEqual([
      ['id', 'when', 'size', 'what'],
      ['id', 'when', 'what'],
      ['id', 'what'],
      ['id', 'what'],
    ]);
  });

  it('shares a narrow terminal between its elastic columns', () => {
    const columns: readonly Column[] = [
      { name: 'a', isElastic: true },
      { name: 'b', isElastic: true },
    ];
    const [, line = ''] = formatTable(columns, [['a'.repeat(100), 'b'.repeat(20)]], { width: 60 });
    expect(line).toBe(`${'a'.repeat(37)}…  ${'b'.repeat(20)}`);
  });

  it('measures characters as terminals draw them', () => {
    expect(widthOf('é')).toBe(1);
    expect(widthOf('e\u0301')).toBe(1);
    expect(widthOf('日本')).toBe(4);
    expect(cut('日本語', 5)).toBe('日本…');
    const lines = formatTable(
      [{ name: 'x' }, { name: 'y' }],
      [
        ['日本', 'a'],
        ['abcd', 'b'],
      ],
    );
    expect(lines.slice(1)).toEqual(['日本  a', 'abcd  b']);
  });
});

describe('colour', () => {
  const write = (surroundings: { columns?: number; env?: Record<string, string> }) => {
    let text = '';
    const stdout = { write: (part: string) => (text += part) } as unknown as NodeJS.WritableStream;
    const columns: readonly Column[] = [{ name: 'severity', style: () => 'red' }, { name: 'x' }];
    writeTable({ stdout, env: {}, ...surroundings }, columns, [['critical', '\u001b[2Jx']]);
    return text;
  };
  const red = '\u001b[31mcritical\u001b[0m';

  it.each([
    ['on a terminal', { columns: 80 }, true],
    ['not in a file', {}, false],
    ['not with NO_COLOR', { columns: 80, env: { NO_COLOR: '1' } }, false],
    [
      'not with NO_COLOR before FORCE_COLOR',
      { columns: 80, env: { NO_COLOR: '1', FORCE_COLOR: '1' } },
      false,
    ],
    ['with FORCE_COLOR', { env: { FORCE_COLOR: '1' } }, true],
    ['not with FORCE_COLOR=0', { columns: 80, env: { FORCE_COLOR: '0' } }, false],
    ['with an empty NO_COLOR', { columns: 80, env: { NO_COLOR: '' } }, true],
    ['not on a dumb terminal', { columns: 80, env: { TERM: 'dumb' } }, false],
  ])('is there %s', (_where, surroundings, expected) => {
    expect(write(surroundings).includes(red)).toBe(expected);
  });

  it('is ours alone: a cell brings none', () => {
    expect(write({ columns: 80 })).toContain(`${red}   [2Jx`);
    expect(write({})).not.toContain('\u001b');
  });
});
