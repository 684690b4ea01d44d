/** What `doctor` finds, and how it is written. */
import { writeJson, writeLine } from '../output.ts';
import type { Terminal } from '../command.ts';
import { wrapped } from '../wrap.ts';

/** One finding. */
export interface Check {
  readonly type: 'check';
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
  /** What to do about it; null where nothing needs to be done, or nothing is known to help. */
  readonly fix: string | null;
}

/** The name of the check that says whether the object-manager port is confirmed: the exit status follows it. */
export const PORT_CHECK = 'ports';
export const PORT_FIX = 'docs/troubleshooting.md, "When a port is guessed"';
/** The name of the check that says whether the agent knows the members of the cluster: the exit status follows it as well. */
export const MEMBERSHIP_CHECK = 'members known';
export const MEMBERSHIP_FIX = 'docs/troubleshooting.md, "When the membership is not known yet"';

/** A member of a group, as a source tells it. */
export interface MemberFinding {
  readonly type: 'member';
  readonly group: string;
  readonly source: string;
  readonly id: string;
  readonly role: string | null;
  readonly addresses: readonly string[];
  /** By service. */
  readonly ports: Readonly<Record<string, readonly number[]>>;
}

export type Finding = Check | MemberFinding;

/** A finding; `fix` is told only where it is not ok. */
export function check(name: string, ok: boolean, detail: string, fix?: string): Check {
  return { type: 'check', name, ok, detail, fix: ok ? null : (fix ?? null) };
}

export function writeFinding(
  finding: Finding,
  json: boolean,
  terminal: Pick<Terminal, 'stdout' | 'columns'>,
): void {
  if (json) writeJson(terminal, finding);
  else for (const line of describe(finding, terminal.columns)) writeLine(terminal, line);
}

const NAME_WIDTH = 13;

function describe(finding: Finding, columns: number | undefined): string[] {
  const indent = ' '.repeat(NAME_WIDTH);
  if (finding.type === 'member') {
    const { role, addresses, ports } = finding;
    const told = Object.entries(ports).map(([service, numbers]) => `${service} ${numbers.join(' ')}`);
    const words = [(role ?? '').padEnd(6), addresses.join(' '), told.join(', ')];
    return wrapped(`         ${indent}   `, words.join('  ').trimEnd(), columns);
  }
  const { name, ok, detail, fix } = finding;
  const lines = wrapped(`${ok ? 'ok     ' : 'missing'}  ${name.padEnd(NAME_WIDTH)} `, detail, columns);
  return [...lines, ...(fix === null ? [] : wrapped(`         ${indent} → `, fix, columns))];
}
