/**
 * Everything that has to hold, in one command: format, lint with folder boundaries, unused code, types, build, and all
 * tests. Every step runs, whatever the ones before said; the last line counts them all.
 *
 * A test that cannot run here says why in its title. With `CI` set, a skip is a failure unless
 * `test/expected-skips.json` has words of its title, and the path that it does without is really missing.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const CHECKS = [
  ['format', ['prettier', '--check', '.']],
  ['lint', ['oxlint', '--type-aware', '--max-warnings', '0']],
  ['unused code', ['knip']],
  ['types', ['tsc', '-p', 'tsconfig.json']],
  ['build', ['rolldown', '--config']],
];

const counts = { passed: 0, failed: 0, skipped: 0 };
for (const [name, command] of CHECKS) runCheck(name, command);
runTests();
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exitCode = counts.failed === 0 ? 0 : 1;

function runCheck(name, [tool, ...args]) {
  const { status } = runTool(tool, args);
  console.log(`${status === 0 ? 'ok  ' : 'FAIL'} ${name}`);
  if (status === 0) counts.passed++;
  else counts.failed++;
}

function runTests() {
  const folder = mkdtempSync(join(tmpdir(), 'plasmawatch-test-'));
  const resultFile = join(folder, 'result.json');
  const { status } = runTool('vitest', [
    'run',
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${resultFile}`,
  ]);
  try {
    countTests(JSON.parse(readFileSync(resultFile, 'utf8')), status);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function countTests(result, status) {
  const expected = JSON.parse(readFileSync('test/expected-skips.json', 'utf8'));
  const tests = result.testResults.flatMap((file) => file.assertionResults);
  counts.passed += tests.filter((test) => test.status === 'passed').length;
  counts.failed += tests.filter((test) => test.status === 'failed').length;
  for (const { fullName } of tests.filter((test) => !['passed', 'failed'].includes(test.status))) {
    const isExpected =
      process.env.CI === undefined ||
      expected.some(({ title, whileMissing }) => fullName.includes(title) && !existsSync(whileMissing));
    console.log(`${isExpected ? 'skipped' : 'UNEXPECTED SKIP'}: ${fullName}`);
    if (isExpected) counts.skipped++;
    else counts.failed++;
  }
  // A file that could not be loaded, or an error outside of a test, fails the run without failing a test.
  if (status !== 0 && counts.failed === 0) counts.failed++;
}

function runTool(tool, args) {
  return spawnSync(process.execPath, [join('node_modules', '.bin', tool), ...args], { stdio: 'inherit' });
}
