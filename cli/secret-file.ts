/** A secret on its way into a file of its own. */
import { open, rm } from 'node:fs/promises';
import { PlasmawatchError, systemCodeOf } from '../common/errors.ts';

/**
 * Makes a new file that only this user can read, then asks for the secret and writes it. A file that is there already, or
 * cannot be made, is told before anybody is asked; one whose secret did not come is taken away.
 * @throws PlasmawatchError PW_SECRET, or what `ask` throws
 */
export async function writeSecretFile<Answer>(
  path: string,
  ask: () => Promise<Answer>,
  secretOf: (answer: Answer) => string,
): Promise<Answer> {
  const file = await create(path);
  try {
    const answer = await ask();
    await file.writeFile(`${secretOf(answer)}\n`);
    await file.sync();
    return answer;
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  } finally {
    await file.close();
  }
}

async function create(path: string) {
  try {
    // Exclusive: no file of somebody else, and no link to one, is written to.
    return await open(path, 'wx', 0o600);
  } catch (error) {
    const code = systemCodeOf(error);
    const reason = code === 'EEXIST' ? 'it is there already' : (code ?? 'error');
    throw new PlasmawatchError('PW_SECRET', `cannot make ${path}: ${reason}; give a new file`, {
      operation: 'write',
      subject: path,
      cause: error,
    });
  }
}
