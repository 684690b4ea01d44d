/** The file in which an agent keeps who is known as a member of the cluster; without it a restart knows nobody. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf, systemCodeOf } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import { savedMembersSchema, type MembersStore, type SavedMembers } from './detect/known-members.ts';

/** A file that is missing is none; one that cannot be read or written is logged, and stops nothing. */
export function openMembersFile(folder: string, logger: Logger): MembersStore {
  const path = join(folder, 'known-members.json');
  let isFailing = false;
  return {
    load(): SavedMembers | undefined {
      try {
        return savedMembersSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
      } catch (error) {
        if (systemCodeOf(error) !== 'ENOENT')
          logger.warn({ path, reason: messageOf(error) }, 'known members cannot be read: nobody is known');
        return undefined;
      }
    },
    save(saved: SavedMembers): void {
      try {
        mkdirSync(folder, { recursive: true });
        writeFileSync(`${path}.new`, JSON.stringify(saved), { mode: 0o600 });
        renameSync(`${path}.new`, path);
        isFailing = false;
      } catch (error) {
        if (!isFailing)
          logger.warn({ path, reason: messageOf(error) }, 'known members cannot be kept over a restart');
        isFailing = true;
      }
    },
  };
}
