/** Whose raylet is believed on this machine, by the settings and by who runs this program. */
import { stat } from 'node:fs/promises';
import type { AgentConfig } from '../agent/config.ts';
import { UserNames } from '../agent/process/user-names.ts';
import type { RayletTrust } from '../agent/ray/raylet-proof.ts';
import { systemClock } from '../common/clock.ts';
import { PlasmawatchError } from '../common/errors.ts';
import type { Terminal } from './command.ts';

/**
 * The user of the settings alone, where they name one. Otherwise root and this program's own user, who can do with it what they
 * like, the user who started it with sudo, and who owns the file of the settings.
 * @throws PlasmawatchError PW_CONFIG where there is no such user
 */
export async function rayletTrust(
  { user, executable }: Partial<Pick<AgentConfig['ray'], 'user' | 'executable'>>,
  { env }: Pick<Terminal, 'env'>,
): Promise<RayletTrust> {
  if (user !== undefined) return { users: new Set([await userIdOf(user)]), isUserNamed: true, executable };
  const sudo = /^\d{1,10}$/.exec(env['SUDO_UID'] ?? '')?.[0];
  const owner = executable === undefined ? undefined : await stat(executable).catch(() => undefined);
  const users = [0, process.geteuid?.(), sudo === undefined ? undefined : Number(sudo), owner?.uid];
  return { users: new Set(users.filter((user) => user !== undefined)), executable };
}

async function userIdOf(user: string | number): Promise<number> {
  if (typeof user === 'number') return user;
  if (/^\d{1,10}$/.test(user)) return Number(user);
  const userId = await new UserNames(systemClock).idOf(user);
  if (userId !== undefined) return userId;
  throw new PlasmawatchError(
    'PW_CONFIG',
    `ray.user: /etc/passwd has no user ${user}; of a user from elsewhere give the numeric id`,
    { operation: 'read', subject: user },
  );
}
