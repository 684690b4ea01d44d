/**
 * The tests against real clusters on each version of Ray that is supported by name, one after the other; the last line
 * counts them all. Arguments go to vitest.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const VERSIONS = ['2.9.3', '2.38.0', '2.53.0', '2.60.0'];

const counts = { passed: 0, failed: 0, skipped: 0 };
const folder = mkdtempSync(join(tmpdir(), 'plasmawatch-ray-result-'));
try {
  for (const version of VERSIONS) runOn(version);
} finally {
  rmSync(folder, { recursive: true });
}
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exitCode = counts.failed === 0 ? 0 : 1;

function runOn(version) {
  console.log(`Ray ${version}`);
  const file = join(folder, `${version}.json`);
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
  const words = [version, ...reporters, ...process.argv.slice(2)];
  const { status } = spawnSync(join('test', 'ray.sh'), words, { stdio: 'inherit' });
  const before = counts.failed;
  if (existsSync(file)) countTests(JSON.parse(readFileSync(file, 'utf8')));
  // No environment, no lab, a file that could not be loaded, or an error outside of a test.
  if (status !== 0 && counts.failed === before) counts.failed++;
}

function countTests({ testResults }) {
  for (const { status } of testResults.flatMap(({ assertionResults }) => assertionResults)) {
    if (status === 'passed' || status === 'failed') counts[status]++;
    else counts.skipped++;
  }
}
