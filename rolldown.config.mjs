/**
 * How the program is built: the modules of a command become one file, with a few shared by several. Node loads that in
 * half the time, which is most of what a short command takes, and V8 need not ask at every call of the packet path
 * whether the module it comes from has been loaded yet (bench/replay: a quarter of the whole).
 */
import { defineConfig } from 'rolldown';

/** The package that every command needs before it can do anything, with what it needs itself; all others stay outside. */
const COMMAND_LINE =
  /^(yargs|yargs-parser|cliui|y18n|escalade|get-caller-file|require-directory|string-width)(\/|$)/;

export default defineConfig({
  input: {
    'cli/main': 'cli/main.ts',
    'cli/generate': 'cli/generate.ts',
    'agent/capture/libpcap-child': 'agent/capture/libpcap-child.ts',
  },
  platform: 'node',
  external: (id) => isPackage(id) && !COMMAND_LINE.test(id),
  optimization: { inlineConst: { mode: 'all', pass: 3 } },
  output: {
    dir: 'dist',
    cleanDir: true,
    chunkFileNames: 'shared/[name].js',
    sourcemap: true,
    minify: { compress: true, mangle: false, codegen: false },
  },
});

function isPackage(id) {
  return !id.startsWith('.') && !id.startsWith('/');
}
