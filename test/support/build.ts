/** Builds the program once before the tests: those that start it as a process need what users would run. */
import { execFileSync } from 'node:child_process';
import { packagePath } from '../../common/package.ts';

export function setup(): void {
  execFileSync(
    process.execPath,
    [packagePath('node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json'],
    {
      cwd: packagePath('.'),
      stdio: 'inherit',
    },
  );
}
