import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packagePath } from '../common/package.ts';

const run = promisify(execFile);

/** Violations that are planted, each in a file of its own, which the linter is then shown. */
const planted: readonly [file: string, line: string, what: string][] = [
  ['common/planted.ts', "import '../agent/agent.ts';", 'common imports the agent'],
  ['common/planted-rules.ts', "import '../rules/match.ts';", 'common imports the rules'],
  ['rules/planted.ts', "import '../agent/agent.ts';", 'rules import the agent'],
  ['agent/planted.ts', "import '../collector/collector.ts';", 'the agent imports the collector'],
  ['agent/planted-ffi.ts', "import 'koffi';", 'foreign calls outside of capture/linux'],
  ['agent/membership/planted-ffi.ts', "import 'koffi';", 'foreign calls in a folder of the agent'],
  ['collector/planted.ts', "import '../agent/agent.ts';", 'the collector imports the agent'],
  ['collector/store/planted.ts', "import '../../cli/main.ts';", 'the collector imports the command line'],
  ['agent/decode/planted.ts', "import '../flow/flow.ts';", 'decode imports flow'],
  [
    'agent/decode/planted-collector.ts',
    "import '../../collector/collector.ts';",
    'decode imports the collector',
  ],
  ['agent/flow/planted.ts', "import '../../rules/match.ts';", 'flow imports the rules'],
  ['agent/flow/planted-ffi.ts', "import 'koffi';", 'foreign calls in flow'],
  ['agent/capture/linux/planted.ts', "import '../../flow/flow.ts';", 'capture imports flow'],
];

/** Imports that go the right way. */
const rightWay: readonly [file: string, line: string, what: string][] = [
  ['agent/right.ts', "import '../rules/match.ts';", 'the agent imports the rules'],
  ['collector/right.ts', "import '../common/event.ts';", 'the collector imports common'],
  ['cli/right.ts', "import '../agent/agent.ts';", 'the command line imports everything'],
  ['agent/capture/linux/right.ts', "import 'koffi';", 'foreign calls where they belong'],
];

describe('folder boundaries', () => {
  // The planted files stand in a tree of their own, with a copy of the settings: nothing touches the sources.
  const folder = mkdtempSync(join(tmpdir(), 'plasmawatch-boundaries-'));
  let complaints: readonly string[] = [];

  beforeAll(async () => {
    copyFileSync(packagePath('.oxlintrc.json'), join(folder, '.oxlintrc.json'));
    for (const [file, line] of [...planted, ...rightWay]) {
      mkdirSync(dirname(join(folder, file)), { recursive: true });
      writeFileSync(join(folder, file), `${line}\n`);
    }
    complaints = await lint(folder);
  });

  afterAll(() => rmSync(folder, { recursive: true }));

  it.each(planted)('the linter refuses %s with %s (%s)', (file) => {
    expect(complaints).toContain(file);
  });

  it.each(rightWay)('the linter has nothing against %s with %s (%s)', (file) => {
    expect(complaints).not.toContain(file);
  });
});

/** The files in which an import is refused. */
async function lint(folder: string): Promise<string[]> {
  const words = [packagePath('node_modules/.bin/oxlint'), '--format', 'json'];
  const output = await run(process.execPath, words, { cwd: folder }).catch(
    (error: { stdout: string }) => error,
  );
  const { diagnostics } = JSON.parse(output.stdout) as { diagnostics: { code: string; filename: string }[] };
  return diagnostics
    .filter(({ code }) => code.includes('no-restricted-imports'))
    .map(({ filename }) => filename);
}
