/**
 * Compiled copies of source files, for tests that start child processes: the oldest supported Node runs no
 * TypeScript.
 */
import { execFile } from 'node:child_process';
import { chmod, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

const PROJECT = resolve(import.meta.dirname, '../..');

/**
 * Compiles the files (paths from the project's root) and what they import, a module each, into a temporary folder of
 * the same layout, where they find the project's node_modules. Every user may read it, as what is installed.
 */
export async function compile(...files: string[]): Promise<{ folder: string; remove: () => Promise<void> }> {
  const root = await mkdtemp(join(tmpdir(), 'plasmawatch-compiled-'));
  await chmod(root, 0o755);
  const folder = join(root, 'dist');
  const config = {
    extends: join(PROJECT, 'tsconfig.json'),
    compilerOptions: {
      noEmit: false,
      rootDir: PROJECT,
      outDir: folder,
      typeRoots: [join(PROJECT, 'node_modules/@types')],
    },
    files: files.map((file) => join(PROJECT, file)),
    include: [],
  };
  await symlink(join(PROJECT, 'node_modules'), join(root, 'node_modules'));
  await writeFile(join(root, 'package.json'), '{"type":"module"}');
  await writeFile(join(root, 'tsconfig.json'), JSON.stringify(config));
  const remove = (): Promise<void> => rm(root, { recursive: true, force: true });
  try {
    await promisify(execFile)(process.execPath, [
      join(PROJECT, 'node_modules/typescript/bin/tsc'),
      '-p',
      join(root, 'tsconfig.json'),
    ]);
  } catch (error) {
    await remove();
    // The compiler says what is wrong on standard output.
    const said = error instanceof Error && 'stdout' in error ? String(error.stdout) : '';
    throw new Error(`cannot compile ${files.join(', ')}: ${said}`, { cause: error });
  }
  return { folder, remove };
}
