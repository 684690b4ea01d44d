import { describe, expect, it } from 'vitest';
import { formatDiagnostic, nearestWord, type Diagnostic } from '../../common/diagnostic.ts';

const diagnostic: Diagnostic = {
  file: 'rules.yaml',
  line: 2,
  column: 5,
  length: 3,
  severity: 'error',
  message: 'unknown key `frm`',
};

describe('formatDiagnostic', () => {
  it('says the place, the severity and the message in one line', () => {
    expect(formatDiagnostic(diagnostic)).toBe('rules.yaml:2:5: error: unknown key `frm`');
  });

  it('adds the hint in brackets', () => {
    expect(formatDiagnostic({ ...diagnostic, severity: 'warning', hint: 'write `from`' })).toBe(
      'rules.yaml:2:5: warning: unknown key `frm` (write `from`)',
    );
  });

  it('shows the line of the source with a caret under the text', () => {
    expect(formatDiagnostic(diagnostic, 'allow:\n  - frm: a\n').split('\n').slice(1)).toEqual([
      '      - frm: a',
      '        ^^^',
    ]);
  });

  it('takes lines that end in CR LF', () => {
    expect(formatDiagnostic(diagnostic, 'allow:\r\n  - frm: a\r\n').split('\n')[1]).toBe('      - frm: a');
  });

  it('keeps tabs before the caret, so that it stands right at any tab width', () => {
    const source = '\n\t- \tfrm: a';
    expect(formatDiagnostic(diagnostic, source).split('\n')[2]).toBe('    \t  \t^^^');
  });

  it('ends the caret with the line, however long the text goes on', () => {
    expect(formatDiagnostic({ ...diagnostic, length: 500 }, '\n  - frm: a').split('\n')[2]).toBe(
      '        ^^^^^^',
    );
  });

  it('shows one caret behind the end of a line', () => {
    expect(formatDiagnostic({ ...diagnostic, column: 1, length: 0 }, 'a\n').split('\n')[2]).toBe('    ^');
  });

  it('shows no source where the problem has no place', () => {
    expect(formatDiagnostic({ ...diagnostic, line: 0, column: 0, length: 0 }, 'a\nb')).toBe(
      'rules.yaml: error: unknown key `frm`',
    );
  });
});

describe('nearestWord', () => {
  const known = ['allow', 'groups', 'services', 'limits'];

  it.each([
    ['allows', 'allow'],
    ['alow', 'allow'],
    ['grups', 'groups'],
    ['GROUPS', 'groups'],
    ['servcies', 'services'],
  ])('takes %s for %s', (word, near) => {
    expect(nearestWord(word, known)).toBe(near);
  });

  it('does not guess at a word that is far from all', () => {
    expect(nearestWord('elasticsearch', known)).toBeUndefined();
    expect(nearestWord('anything', [])).toBeUndefined();
  });

  it('takes the nearest of several', () => {
    expect(nearestWord('object-managr', ['node-manager', 'object-manager'])).toBe('object-manager');
  });
});
