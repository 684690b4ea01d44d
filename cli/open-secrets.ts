/** Files of the settings that hold secrets, and that more people than the service may read or write. */
import { isReadByAll, judgeFile } from '../common/file-trust.ts';
import type { Logger } from '../common/log.ts';

/** Names of settings whose files hold nothing secret: certificates, and the public half of a key. */
const PUBLIC = new Set(['caFile', 'certFile', 'certificateFile', 'rulesKeyFile']);

/** Logs a warning for each secret file that everybody may read, or that somebody else may write. */
export async function warnOfOpenSecrets(config: object, logger: Pick<Logger, 'warn'>): Promise<void> {
  for (const { setting, file } of secretFilesOf(config)) {
    const { warning } = await judgeFile(file);
    if (warning !== undefined) logger.warn({ setting, file }, `a secret's file is not safe: ${warning}`);
    if (await isReadByAll(file)) {
      logger.warn({ setting, file }, `a secret can be read by everybody on this machine: chmod o-r ${file}`);
    }
  }
}

/** Every setting that names the file of a secret: `…File`, and the private key of `tls`. */
export function secretFilesOf(config: object, path = ''): { setting: string; file: string }[] {
  return Object.entries(config).flatMap(([name, value]: [string, unknown]) => {
    const setting = path === '' ? name : `${path}.${name}`;
    if (typeof value === 'object' && value !== null) return secretFilesOf(value, setting);
    if (typeof value !== 'string' || PUBLIC.has(name)) return [];
    return name.endsWith('File') || setting === 'tls.key' ? [{ setting, file: value }] : [];
  });
}
