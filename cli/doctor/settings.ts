/** The agent's settings, where there are any: what `doctor` looks at is what that agent would use. */
import { existsSync } from 'node:fs';
import type { z } from 'zod';
import { agentConfigSchema } from '../../agent/config.ts';
import { PATHS } from '../../common/paths.ts';
import type { Terminal } from '../command.ts';
import { loadConfig } from '../config-file.ts';

/** Where an installed agent has its settings. */
export const USUAL_CONFIG = PATHS.agentConfig;

/** What `doctor` needs of them. */
const usedSchema = agentConfigSchema.pick({ node: true, rules: true, ray: true, spool: true });
export type UsedSettings = z.output<typeof usedSchema>;

/** The settings at `path`, or the usual ones, or the defaults. Undefined where they are wrong: then the problems have been told. */
export async function loadSettings(
  path: string | undefined,
  terminal: Pick<Terminal, 'stderr'>,
): Promise<UsedSettings | undefined> {
  if (path === undefined && !existsSync(USUAL_CONFIG)) return usedSchema.parse({});
  return loadConfig(agentConfigSchema, path ?? USUAL_CONFIG, terminal);
}
