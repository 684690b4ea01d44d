/** Certificates for servers and clients of a test, made by openssl. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const OPENSSL = '/usr/bin/openssl';
/** No file of the machine has a say; openssl adds no extension by itself. */
const SETTINGS = '[req]\ndistinguished_name = name\n[name]\n';

export const hasOpenssl = existsSync(OPENSSL);

/** PEM. */
export interface Certificate {
  readonly key: string;
  readonly cert: string;
}

export interface CertificateOptions {
  /** `/CN=w1`. */
  readonly subject: string;
  /** `subjectAltName=DNS:w1`, `basicConstraints=CA:FALSE`, … */
  readonly extensions?: readonly string[];
  /** Who signs it; itself without. */
  readonly authority?: Certificate;
}

/** A key and a certificate that it signed itself, for 127.0.0.1 and localhost. */
export async function makeCertificate(): Promise<Certificate> {
  const extensions = ['subjectAltName=IP:127.0.0.1,DNS:localhost'];
  return await issueCertificate({ subject: '/CN=localhost', extensions });
}

/** An authority that signs others. */
export async function makeAuthority(): Promise<Certificate> {
  return await issueCertificate({
    subject: '/CN=authority',
    extensions: ['basicConstraints=critical,CA:TRUE'],
  });
}

/** A new key and its certificate, for two days. */
export async function issueCertificate({
  subject,
  extensions = [],
  authority,
}: CertificateOptions): Promise<Certificate> {
  const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-certificate-'));
  const file = (name: string): string => join(folder, name);
  try {
    await writeFile(file('settings'), SETTINGS);
    const words = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2'.split(' ');
    words.push('-config', file('settings'), '-subj', subject, '-keyout', file('key'), '-out', file('cert'));
    for (const extension of extensions) words.push('-addext', extension);
    if (authority !== undefined) {
      await writeFile(file('ca'), authority.cert);
      await writeFile(file('ca-key'), authority.key, { mode: 0o600 });
      words.push('-CA', file('ca'), '-CAkey', file('ca-key'));
    }
    execFileSync(OPENSSL, words, { stdio: 'ignore' });
    return { key: await readFile(file('key'), 'utf8'), cert: await readFile(file('cert'), 'utf8') };
  } finally {
    await rm(folder, { recursive: true });
  }
}
