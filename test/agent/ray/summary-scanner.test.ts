import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SummaryScanner } from '../../../agent/ray/summary-scanner.ts';

const RECORDED = readFileSync(resolve(import.meta.dirname, '../../vectors/ray/nodes-summary.json'), 'utf8');
const WANTED = ['nodeId', 'objectManagerPort', 'state', 'isHeadNode'];

/** What is picked, with the bytes coming in pieces of this length. */
function scan(text: string, pieceLength = Infinity): unknown[] {
  const bytes = Buffer.from(text);
  const scanner = new SummaryScanner(WANTED, 1000);
  for (let offset = 0; offset < bytes.length; offset += pieceLength) {
    scanner.write(bytes.subarray(offset, Math.min(bytes.length, offset + pieceLength)));
  }
  return scanner.end().map((entry): unknown => JSON.parse(entry));
}

/** The same by a parser of all. */
function parse(text: string): unknown[] {
  const { data } = JSON.parse(text) as { data: { summary: { raylet: Record<string, unknown> }[] } };
  return data.summary.map(({ raylet }) =>
    Object.fromEntries(Object.entries(raylet).filter(([key]) => WANTED.includes(key))),
  );
}

function answerOf(...entries: object[]): string {
  return JSON.stringify({ result: true, msg: '', data: { summary: entries } });
}

describe('SummaryScanner', () => {
  it.each([1, 2, 3, 7, 64, 1000, Infinity])(
    'picks what a parser finds, in pieces of %d bytes',
    (pieceLength) => {
      expect(scan(RECORDED, pieceLength)).toEqual(parse(RECORDED));
      expect(scan(JSON.stringify(JSON.parse(RECORDED), undefined, 2), pieceLength)).toEqual(parse(RECORDED));
    },
  );

  const node = { nodeId: 'aa', objectManagerPort: 1, state: 'ALIVE', isHeadNode: false };
  const lie = { nodeId: 'liar', objectManagerPort: 666, state: 'ALIVE' };
  it.each([
    ['in a command line', { cmdline: [`"raylet":${JSON.stringify(lie)}`, '"}],"raylet":{"nodeId":"liar"}'] }],
    ['behind a backslash', { cmdline: ['\\', '\\"', '\\\\","raylet":{"nodeId":"liar"}', 'a\\'] }],
    [
      'as a key of another object',
      { agent: { raylet: lie }, x: [{ raylet: lie }, [{ data: { summary: [] } }]] },
    ],
    ['as a summary elsewhere', { data: { summary: [{ raylet: lie }] }, summary: [{ raylet: lie }] }],
    ['as brackets in strings', { '}]{': '}]}]}', nothing: [], none: {}, deep: [[[[{ a: ['[[{'] }]]]] }],
  ])('takes nothing that a node says of itself for a raylet: %s', (_how, said) => {
    const text = answerOf({
      ...said,
      raylet: { ...said, resourcesTotal: { raylet: 1, nodeId: 2 }, ...node },
      z: said,
    });
    for (const pieceLength of [1, 5, Infinity]) {
      expect(scan(text, pieceLength)).toEqual([node]);
      expect(scan(text, pieceLength)).toEqual(parse(text));
    }
  });

  it('agrees with a parser whatever else is in an answer', () => {
    fc.assert(
      fc.property(
        fc.array(fc.dictionary(fc.string(), fc.jsonValue())),
        fc.integer({ min: 1, max: 50 }),
        (said, size) => {
          const text = answerOf(
            ...said.map((others) => ({ ...others, raylet: { ...others, ...node }, x: others })),
          );
          expect(scan(text, size)).toEqual(parse(text));
        },
      ),
    );
  });

  it('takes the later one of two values, as a parser does', () => {
    const text =
      '{"data":{"summary":[{"raylet":{"nodeId":"a","nodeId":"b"}},{"raylet":{"nodeId":"c"},"raylet":{"state":"d"}}]}}';
    expect(scan(text)).toEqual(parse(text));
  });

  it.each([
    ['<html>'],
    [''],
    ['[]'],
    ['{"data":[]}'],
    ['{"data":{"summary":{}}}'],
    ['{"data":{"summary":[}}'],
    ['{"data":{"summary":[{"raylet":{"nodeId":"a"}}]}'],
    ['{"data":{"summary":[{"raylet":{"nodeId":{}}}]}}'],
    ['{"data":{"summary":[{"raylet":{"nodeId":"a"}}]}}}'],
    ['{"data":{"summary":[{"raylet":{"nodeId" "a"}}]}}'],
    [`{"data":{"summary":[{"raylet":{"nodeId":"${'a'.repeat(2000)}"}}]}}`],
    [answerOf(...Array.from({ length: 1001 }, () => ({ raylet: node })))],
  ])('refuses %.60s', (text) => {
    expect(() => scan(text)).toThrow(/expected JSON|more than|invalid|is not/i);
  });

  it('takes a list without nodes, and an entry without a raylet', () => {
    expect(scan('{"data":{"summary":[ ]}}')).toEqual([]);
    expect(scan('{"data":{"summary":[{}]}}')).toEqual([{}]);
  });
});
