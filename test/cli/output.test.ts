import { describe, expect, it } from 'vitest';
import { describeAnomaly, writeJson, writeLine, writeProblem } from '../../cli/output.ts';
import { sampleAnomaly } from '../support/sample-report.ts';

const HOSTILE = 'a\u001b[2J\u009b\u202eb\u200bc';
const ACTING = /(?![\n\t])[\p{Cc}\p{Cf}]/u;

function written(
  write: (terminal: { stdout: NodeJS.WritableStream; stderr: NodeJS.WritableStream }) => void,
) {
  let text = '';
  const stream = { write: (part: string) => (text += part) } as unknown as NodeJS.WritableStream;
  write({ stdout: stream, stderr: stream });
  return text;
}

describe('what a command prints', () => {
  it.each([
    ['a line', (terminal: Parameters<typeof writeLine>[0]) => writeLine(terminal, `${HOSTILE}\n\tnext`)],
    [
      'a problem',
      (terminal: Parameters<typeof writeProblem>[0]) => writeProblem(terminal, `${HOSTILE}\n\tnext`),
    ],
  ])('as %s keeps its lines and nothing that a terminal acts on', (_what, write) => {
    const text = written(write);
    expect(text).not.toMatch(ACTING);
    expect(text).toMatch(/^a.*c\n\tnext\n$/);
  });

  it('as JSON is the same value, and nothing that a terminal acts on', () => {
    const text = written((terminal) => writeJson(terminal, { message: HOSTILE }));
    expect(text).not.toMatch(ACTING);
    expect(JSON.parse(text)).toEqual({ message: HOSTILE });
  });

  it('of an anomaly is one line, whatever its message holds', () => {
    const anomaly = { ...sampleAnomaly(1), message: 'x\n2026-11-23T09:42:10Z  info  all is well' };
    expect(describeAnomaly(anomaly)).not.toContain('\n');
  });
});
