/** `plasmawatch version`: which version this is, and what it runs on. */
import { packageVersion } from '../common/package.ts';
import type { Command } from './command.ts';
import { writeJson, writeLine } from './output.ts';

export const versionCommand: Command<{ readonly json: boolean }> = {
  usage: 'version',
  description: 'say the version, of Node and of the machine too',
  options: (yargs) =>
    yargs.option('json', { type: 'boolean', default: false, description: 'one JSON object a line' }),
  run: async ({ json }, terminal) => {
    const { platform, arch, versions } = process;
    const version = packageVersion();
    if (json)
      writeJson(terminal, { type: 'version', version, node: versions.node, platform, architecture: arch });
    else writeLine(terminal, `plasmawatch ${version} (Node ${versions.node}, ${platform} ${arch})`);
    return 0;
  },
};
