/** Files that ship with the program: found beside its package.json, whether it runs from `dist` or from source. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The absolute path of a shipped file, given by its path from the top of the package. */
export function packagePath(relativePath: string): string {
  return join(packageRoot, relativePath);
}

/** The program's version, as package.json has it. */
export function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(packagePath('package.json'), 'utf8')) as { version: string };
  return version;
}

const packageRoot = findRoot(dirname(fileURLToPath(import.meta.url)));

function findRoot(start: string): string {
  let folder = start;
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder)
      throw new Error(`no package.json in ${start} or above: the installation is not whole`);
    folder = parent;
  }
  return folder;
}
