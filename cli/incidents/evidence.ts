/** `plasmawatch incidents evidence`: the packets of an incident in one file. */
import { open, rm } from 'node:fs/promises';
import { PlasmawatchError, systemCodeOf } from '../../common/errors.ts';
import type { CollectorClient } from '../collector-client.ts';
import type { ExitStatus, Terminal } from '../command.ts';
import { writeJson, writeLine, writeProblem } from '../output.ts';
import { evidenceAnswer, pathOf } from './answers.ts';

interface EvidenceWanted {
  readonly id: string;
  /** A new file, or `-`. */
  readonly output: string;
  readonly json: boolean;
}

/**
 * Writes the evidence of each member one after the other: every one is a whole section of pcapng (draft-ietf-opsawg-pcapng,
 * section 3.2), and a file may have several.
 * @throws PlasmawatchError PW_API where there is none; PW_USAGE where the file is there already or cannot be made
 */
export async function writeEvidence(
  client: Pick<CollectorClient, 'get' | 'getBytes'>,
  { id, output, json }: EvidenceWanted,
  terminal: Pick<Terminal, 'stdout' | 'stderr'>,
): Promise<ExitStatus> {
  const { evidence } = await client.get(`${pathOf(id)}/evidence`, evidenceAnswer);
  if (evidence.length === 0) {
    throw new PlasmawatchError('PW_API', `the collector has no packets of ${id}`);
  }
  const packets = evidence.reduce((sum, each) => sum + each.packets, 0);
  const count = `${packets} packet${packets === 1 ? '' : 's'} of ${evidence.length} connection${evidence.length === 1 ? '' : 's'}`;
  if (output === '-') {
    for (const { path } of evidence) terminal.stdout.write(await client.getBytes(placeOf(path, id)));
    writeProblem(terminal, count);
    return 0;
  }
  const file = await create(output);
  try {
    for (const { path } of evidence) await file.writeFile(await client.getBytes(placeOf(path, id)));
    await file.sync();
  } catch (error) {
    await rm(output, { force: true });
    throw error;
  } finally {
    await file.close();
  }
  if (json) writeJson(terminal, { type: 'evidence-file', incident: id, file: output, packets });
  else writeLine(terminal, `${count} in ${output}`);
  return 0;
}

/** The collector's word for where packets are, if it is below the incident: an answer leads nowhere else. */
function placeOf(path: string, id: string): string {
  const expected = `${pathOf(id)}/evidence/`;
  if (path.startsWith(expected) && /^\d+\.pcapng$/.test(path.slice(expected.length))) return path;
  throw new PlasmawatchError('PW_API', 'the collector names packets in an unexpected place');
}

/** Exclusive, and for this user only: packets hold what others sent. */
async function create(path: string) {
  try {
    return await open(path, 'wx', 0o600);
  } catch (error) {
    const code = systemCodeOf(error);
    const reason = code === 'EEXIST' ? 'it is there already' : (code ?? 'error');
    throw new PlasmawatchError('PW_USAGE', `cannot make ${path}: ${reason}; give a new file with --output`, {
      operation: 'write',
      subject: path,
      cause: error,
    });
  }
}
