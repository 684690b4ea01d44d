/**
 * Where a raylet's log may be. Its standard output and error are what it writes to, whatever the name: started again in its session
 * it writes to `raylet.1.out`, and `raylet.out` keeps the start before it (up to Ray 2.38 no option names the file). Where those
 * are no files (a pipe, /dev/null), or the log was rotated, the names that Ray and logrotate(8) give are tried.
 *
 * Whatever a log says is a hint: the reader checks it against the ports at which the raylet listens.
 */
import { join } from 'node:path';
import { readDescriptorEnds, readForeignEnds } from '../process/foreign-files.ts';
import { readLink } from '../process/proc-files.ts';
import { sessionOf, type RayletOptions } from './raylet-options.ts';

/** The line with the ports is written at the start; the file grows and is rotated, so its end is looked at too. */
const LOG_WINDOW_BYTES = 256 * 1024;
/** Standard output and standard error. */
const OUTPUTS = [1, 2];
/** Rotated logs that are tried: Ray keeps five. */
const MAX_ROTATED = 8;
/** What the kernel puts behind the name of a file that is no more. */
const DELETED = ' (deleted)';

interface RayletProcess {
  /** Its folder in /proc. */
  readonly processFolder: string;
  readonly userId: number;
  readonly options: RayletOptions;
}

/** What can be read of the logs that may be the raylet's, the likeliest first. Each is read when it is asked for. */
export async function* readRayletLogs({
  processFolder,
  userId,
  options,
}: RayletProcess): AsyncGenerator<string> {
  const paths = new Set<string>();
  for (const descriptor of OUTPUTS) {
    const text = await readDescriptorEnds({ processFolder, descriptor, userId }, LOG_WINDOW_BYTES);
    if (text !== undefined) yield text;
    const target = await readLink(join(processFolder, `fd/${descriptor}`));
    // Read under its name as well: not everybody who may see the link may follow it.
    if (text === undefined && target !== undefined && !target.endsWith(DELETED)) paths.add(target);
  }
  for (const path of namesOf(options)) paths.add(path);
  for (const path of paths) {
    const text = await readForeignEnds({ processFolder, path, userId }, LOG_WINDOW_BYTES);
    if (text !== undefined) yield text;
  }
}

function namesOf(options: RayletOptions): string[] {
  const folder = options.get('log_dir') ?? `${sessionOf(options)}/logs`;
  const given = ['stdout_filepath', 'stderr_filepath'].flatMap((name) => options.get(name) ?? []);
  const usual = given.length > 0 ? given : [`${folder}/raylet.out`, `${folder}/raylet.err`];
  const rotated = Array.from({ length: MAX_ROTATED }, (_, index) => index + 1).flatMap((number) => [
    `${folder}/raylet.${number}.out`,
    `${folder}/raylet.out.${number}`,
  ]);
  return [...usual, ...rotated];
}
