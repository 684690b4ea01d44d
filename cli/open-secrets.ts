/** The files that settings name for secrets, keys and certificates; and those of them that others may read or write. */
import { isReadByAll, judgeFile } from '../common/file-trust.ts';

/** Settings whose files hold nothing secret: certificates, and the public half of a key. */
const PUBLIC = new Set(['caFile', 'certFile', 'certificateFile', 'rulesKeyFile', 'tls.cert', 'tls.clientCa']);
/** Settings that name a file and do not end in `File`. */
const TLS = new Set(['tls.cert', 'tls.clientCa', 'tls.key']);
/** Read at the first start, and of no use afterwards. */
const ONE_TIME = 'collector.enrolTokenFile';

interface NamedFile {
  /** `receivers.0.urlFile`. */
  readonly setting: string;
  readonly file: string;
}

/** Warns of each secret file that everybody may read, or that somebody else may write. */
export async function warnOfOpenSecrets(
  config: object,
  logger: { readonly warn: (fields: NamedFile, message: string) => void },
): Promise<void> {
  for (const { setting, file } of secretFilesOf(config)) {
    const { warning } = await judgeFile(file);
    if (warning !== undefined) logger.warn({ setting, file }, `a secret's file is not safe: ${warning}`);
    if (await isReadByAll(file)) {
      logger.warn({ setting, file }, `a secret can be read by everybody on this machine: chmod o-r ${file}`);
    }
  }
}

/** Every setting that names the file of a secret: `…File`, and the private key of `tls`. */
export function secretFilesOf(config: object): NamedFile[] {
  return namedFiles(config).filter(({ setting }) => {
    return !PUBLIC.has(setting) && !PUBLIC.has(setting.split('.').at(-1) ?? '');
  });
}

/** Every file that a running service reads again when it changes: certificates, too, but no one-time token. */
export function renewableFilesOf(config: object): NamedFile[] {
  return namedFiles(config).filter(({ setting }) => setting !== ONE_TIME);
}

function namedFiles(config: object, path = ''): NamedFile[] {
  return Object.entries(config).flatMap(([name, value]: [string, unknown]) => {
    const setting = path === '' ? name : `${path}.${name}`;
    if (typeof value === 'object' && value !== null) return namedFiles(value, setting);
    const isNamed = typeof value === 'string' && (name.endsWith('File') || TLS.has(setting));
    return isNamed ? [{ setting, file: value }] : [];
  });
}
