/** `plasmawatch completion`: the script with which a shell completes commands and flags. */
import type { Command } from './command.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;

interface CompletionOptions {
  readonly shell: (typeof SHELLS)[number];
}

export const completionCommand: Command<CompletionOptions> = {
  usage: 'completion <shell>',
  description: 'print the completion script of a shell: source <(plasmawatch completion bash)',
  options: (yargs) =>
    yargs.positional('shell', {
      choices: SHELLS,
      demandOption: true,
      description: 'the shell that reads it',
    }),
  run: async ({ shell }, terminal) => {
    terminal.stdout.write(SCRIPTS[shell]);
    return 0;
  },
};

/** Every script asks the program itself, by yargs' `--get-yargs-completions`: word by word, the last one unfinished. */
const SCRIPTS: Readonly<Record<CompletionOptions['shell'], string>> = {
  bash: `# plasmawatch completion bash: to be sourced, or saved in /etc/bash_completion.d/plasmawatch
_plasmawatch() {
  local word="\${COMP_WORDS[COMP_CWORD]}" answers
  answers="$(SHELL=bash plasmawatch --get-yargs-completions "\${COMP_WORDS[@]:0:COMP_CWORD+1}" 2> /dev/null)"
  mapfile -t COMPREPLY < <(compgen -W "$answers" -- "$word")
  if ((\${#COMPREPLY[@]} == 0)); then
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
  fi
}
complete -o filenames -F _plasmawatch plasmawatch
`,
  zsh: `#compdef plasmawatch
# plasmawatch completion zsh: to be saved as _plasmawatch in a folder of $fpath, or sourced after compinit
_plasmawatch() {
  local -a answers
  answers=("\${(@f)$(SHELL=bash plasmawatch --get-yargs-completions "\${words[@]:0:$CURRENT}" 2> /dev/null)}")
  compadd -- $answers || _files
}
compdef _plasmawatch plasmawatch
`,
  fish: `# plasmawatch completion fish: to be saved as ~/.config/fish/completions/plasmawatch.fish
function __plasmawatch_complete
  env SHELL=bash plasmawatch --get-yargs-completions (commandline -opc) (commandline -ct) 2> /dev/null
end
complete -c plasmawatch -a '(__plasmawatch_complete)'
`,
};
