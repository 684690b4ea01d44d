/** Builds the program once before the tests: those that start it as a process need what users would run. */
import { execFileSync } from 'node:child_process';
import { packagePath } from '../../common/package.ts';

export function setup(): void {
  const rolldown = packagePath('node_modules/rolldown/bin/cli.mjs');
  execFileSync(process.execPath, [rolldown, '--config'], {
    cwd: packagePath('.'),
    stdio: 'inherit',
  });
}
