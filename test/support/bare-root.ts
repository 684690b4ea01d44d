/**
 * A bare Debian with systemd and without compilers, libpcap or Node, made by debootstrap and kept in the system's cache.
 * The packages come from where this machine's own do.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

const CACHE = '/var/cache/plasmawatch-test';
/** What Debian's own installer would have installed, too, and what the documentation uses. */
const PACKAGES = [
  'systemd',
  'systemd-sysv',
  'dbus',
  'openssl',
  'curl',
  'ca-certificates',
  'sudo',
  'logrotate',
  'iproute2',
];
const BUILD_LIMIT_SECONDS = 240;
const LOOK_INTERVAL_MS = 200;

/** What is needed to make and boot a bare root and is not here, or undefined: for `describe.skipIf` and its title. */
export function missingForMachines(): string | undefined {
  if (process.platform !== 'linux') return 'Linux';
  if (process.getuid?.() !== 0) return 'root';
  const program = ['debootstrap', 'systemd-nspawn', 'nsenter', 'unshare', 'ip'].find(
    (name) => spawnSync('which', [name]).status !== 0,
  );
  if (program !== undefined) return `the program ${program}`;
  if (spawnSync('unshare', ['--mount', 'true']).status !== 0) return 'the right to mount';
  return debianSource() === undefined ? 'Debian, with a source of packages' : undefined;
}

/** The folder of the root; it is not to be changed. */
export function bareRoot(): string {
  const source = debianSource();
  if (source === undefined) throw new Error('this machine has no source of Debian packages');
  const { site, suite } = source;
  return cached([suite, ...PACKAGES], (draft) => {
    const words = ['--variant=minbase', `--include=${PACKAGES.join(',')}`, suite, draft, site];
    const { status, stdout, stderr } = spawnSync(
      'timeout',
      [String(BUILD_LIMIT_SECONDS), 'debootstrap', ...words],
      {
        encoding: 'utf8',
        env: { ...process.env, ...aptProxy() },
      },
    );
    if (status === 0) return;
    const told = (stdout + stderr).slice(-2000);
    throw new Error(`debootstrap made no root within ${BUILD_LIMIT_SECONDS} s (status ${status}):\n${told}`);
  });
}

/** A folder that is made once, of what its name stands for, and kept. Other processes that need it wait for the first. */
export function cached(parts: readonly string[], make: (draft: string) => void): string {
  const key = createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 12);
  const folder = join(CACHE, `${parts[0]}-${key}`);
  mkdirSync(CACHE, { recursive: true, mode: 0o700 });
  const lock = `${folder}.lock`;
  for (;;) {
    if (existsSync(folder)) return folder;
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' });
      break;
    } catch {
      if (!isHeld(lock)) rmSync(lock, { force: true });
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOOK_INTERVAL_MS);
    }
  }
  const draft = mkdtempSync(`${folder}.draft-`);
  try {
    chmodSync(draft, 0o755);
    make(draft);
    renameSync(draft, folder);
    return folder;
  } finally {
    rmSync(draft, { recursive: true, force: true });
    rmSync(lock, { force: true });
  }
}

/** Whether the process that made the lock still runs; one that has not written its id yet counts as one that does. */
function isHeld(lock: string): boolean {
  try {
    const pid = readFileSync(lock, 'utf8');
    return pid === '' || existsSync(`/proc/${pid}`);
  } catch {
    return true;
  }
}

/** Where apt gets Debian itself from, and which release this machine has. */
function debianSource(): { readonly site: string; readonly suite: string } | undefined {
  if (!existsSync('/etc/debian_version') || !existsSync('/etc/os-release')) return undefined;
  const suite = /^VERSION_CODENAME=(\w+)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1];
  const format = '$(SITE) $(RELEASE) $(COMPONENT)';
  const { stdout } = spawnSync('apt-get', ['indextargets', '--format', format], { encoding: 'utf8' });
  const line = (stdout ?? '').split('\n').find((text) => text.endsWith(` ${suite} main`));
  const site = line?.split(' ')[0];
  return suite === undefined || site === undefined ? undefined : { site, suite };
}

/** debootstrap asks wget, which takes the proxy from the environment and not from apt's settings. */
function aptProxy(): Record<string, string> {
  const { stdout } = spawnSync('apt-config', ['dump', 'Acquire::http::Proxy', '--format', '%v'], {
    encoding: 'utf8',
  });
  const proxy = (stdout ?? '').trim();
  return proxy === '' ? {} : { http_proxy: proxy };
}
