/** A machine on which somebody follows the documentation: one shell for all blocks, an editor that writes what the page shows. */
import type { DocBlock } from './doc-commands.ts';
import type { Machine, Outcome } from './machine.ts';

const HOME = '/home/ops';
const EDITS = `${HOME}/.edits`;

/** Puts the sections of a page's settings in the place of those of the same names, as a reader would in an editor. */
const EDITOR = `#!/usr/bin/env node
const { existsSync, readFileSync, writeFileSync } = require('node:fs');
const { parse, parseDocument } = require('/usr/lib/node_modules/plasmawatch/node_modules/yaml');
const [file] = process.argv.slice(2);
const name = /agent/.test(file) ? 'agent.yaml' : 'collector.yaml';
if (existsSync('${EDITS}/' + name)) {
  const document = parseDocument(readFileSync(file, 'utf8'));
  for (const [section, value] of Object.entries(parse(readFileSync('${EDITS}/' + name, 'utf8')))) document.set(section, value);
  writeFileSync(file, document.toString());
}
`;

/**
 * What every shell begins with. Where and with what the last one ended stays; status 1 of the commands that say by it that they
 * found something is no failure.
 */
const PREAMBLE = `
set -euo pipefail
export SUDO_EDITOR=/usr/local/bin/page-editor
[ ! -f ~/.doc-env ] || . ~/.doc-env
[ ! -f ~/.doc-cwd ] || cd "$(cat ~/.doc-cwd)"
trap 'export -p | grep -E " (PLASMAWATCH_|NODE_)" > ~/.doc-env || true; pwd > ~/.doc-cwd' EXIT
found() { [ "$1" -eq 1 ] && case "$2" in incidents|agents|rules|replay|doctor) true ;; *) false ;; esac; }
plasmawatch() { command plasmawatch "$@" || found "$?" "$1"; }
sudo() { command sudo "$@" || { local status=$?; [ "$1" = plasmawatch ] && found "$status" "$2"; }; }
`;

export class DocumentedMachine {
  readonly machine: Machine;

  constructor(machine: Machine) {
    this.machine = machine;
    machine.write('/usr/local/bin/page-editor', EDITOR, 0o755);
  }

  /** Runs a block as a person with sudo would. */
  async follow({ text, settings }: DocBlock, replace: (text: string) => string): Promise<Outcome> {
    await this.machine.expect(`rm -rf ${EDITS} && install -d -o ops -g ops ${EDITS}`);
    for (const { file, text: shown } of settings) this.machine.write(`${EDITS}/${file}`, replace(shown));
    this.machine.write(`${HOME}/.block.sh`, `${PREAMBLE}\n${replace(text)}`);
    return await this.machine.run('bash ~/.block.sh', { user: 'ops' });
  }

  /** Gives the person a file, as a copy from another machine. */
  async receive(name: string, text: string): Promise<void> {
    this.machine.write(`${HOME}/${name}`, text, 0o600);
    await this.machine.expect(`chown ops: ${HOME}/${name}`);
  }
}
