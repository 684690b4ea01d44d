import { execFile } from 'node:child_process';
import { mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { probeCapture } from '../../../agent/capture/live.ts';
import { readCapabilities } from '../../../agent/process/capabilities.ts';
import { systemClock } from '../../../common/clock.ts';
import { silentLogger } from '../../../common/log.ts';
import { compile } from '../../support/compile.ts';
import { missingForNamespaces } from '../../support/netns.ts';

const MODULES = resolve(import.meta.dirname, '../../../node_modules');
const OPTIONAL_PACKAGES: ReadonlySet<string> = new Set(['koffi', 'cap']);
const missing = missingForNamespaces('setpriv');

describe.skipIf(missing !== undefined)(
  `openLiveSource by privilege (needs ${missing ?? 'nothing more'})`,
  () => {
    let compiled: Awaited<ReturnType<typeof compile>> | undefined;

    beforeAll(async () => {
      compiled = await compileLive();
      await writeFile(join(compiled.folder, 'open.mjs'), OPEN_SCRIPT);
    });
    afterAll(() => compiled?.remove());

    /** Opens a source in a process of another user with these capabilities alone. */
    async function openAs(capabilities: string): Promise<string> {
      const folder = compiled?.folder ?? '';
      const privileges = ['--reuid=65534', '--regid=65534', '--clear-groups'];
      const granted = ['inh-caps', 'ambient-caps'].map((set) => `--${set}=-all${capabilities}`);
      const words = [...privileges, ...granted, process.execPath, join(folder, 'open.mjs')];
      const { stdout } = await promisify(execFile)('setpriv', words, { cwd: folder });
      return stdout.trim();
    }

    it('counts in the kernel with CAP_NET_RAW and CAP_BPF and nothing else', async () => {
      expect(await openAs(',+net_raw,+bpf')).toBe('kernel passed over: none');
    });

    it('falls back to the ring with CAP_NET_RAW alone, and names the capability that is missing', async () => {
      expect(await openAs(',+net_raw')).toMatch(
        /^ring passed over: kernel \(counting .* needs CAP_BPF \(.*EPERM\)\)$/,
      );
    });

    it('says in one line what is missing and what grants it', async () => {
      const line = await openAs('');
      expect(line).toMatch(
        /^PW_CAPTURE_UNAVAILABLE packets cannot be captured without CAP_NET_RAW \(kernel: /,
      );
      expect(line).toContain(
        'kernel: socket on all interfaces: EPERM; ring: socket on all interfaces: EPERM; cap: libpcap on any: ',
      );
      expect(line).toMatch(
        /run it with sudo, or as a unit with these capabilities: sudo systemd-run --pty -p DynamicUser=yes -p "AmbientCapabilities=CAP_NET_RAW CAP_BPF" plasmawatch doctor$/,
      );
    });
  },
);

describe('openLiveSource without its optional packages', () => {
  it.skipIf(process.platform !== 'linux')('says in one line what to install (needs Linux)', async () => {
    const { folder, remove } = await compileLive();
    try {
      const modules = join(folder, '../node_modules');
      await rm(modules);
      await mkdir(modules);
      for (const name of await readdir(MODULES)) {
        const place = join(modules, name);
        if (!OPTIONAL_PACKAGES.has(name)) await symlink(join(MODULES, name), place);
      }
      // An installation that lost its native part: what is there cannot be loaded.
      for (const name of OPTIONAL_PACKAGES) {
        await mkdir(join(modules, name));
        await writeFile(join(modules, name, 'package.json'), '{"main":"absent.js"}');
      }
      await writeFile(join(folder, 'open.mjs'), OPEN_SCRIPT);
      const { stdout } = await promisify(execFile)(process.execPath, [join(folder, 'open.mjs')]);
      expect(stdout).toMatch(
        /^PW_CAPTURE_UNAVAILABLE packets cannot be captured here \(kernel: the package koffi, /,
      );
      expect(stdout).toMatch(
        /\): npm install koffi; or install libpcap with its headers \(apt install libpcap-dev\) and then npm install cap\n$/,
      );
    } finally {
      await remove();
    }
  });
});

describe('probeCapture', () => {
  it('tries every way, and names what would make a missing one available', async () => {
    const probes = await probeCapture({ clock: systemClock, logger: silentLogger });
    expect(probes.map(({ name }) => name)).toEqual(['kernel', 'ring', 'cap']);
    expect(probes.filter(({ reason }) => reason.includes('\n'))).toEqual([]);
    expect(probes.filter(({ available, fix }) => available && fix !== undefined)).toEqual([]);
    const canCapture = process.platform === 'linux' && (await readCapabilities()).netRaw === true;
    expect(probes[1]?.available).toBe(canCapture);
  });
});

/** The ways to capture, with libpcap's child under the name that the build gives it. */
async function compileLive(): ReturnType<typeof compile> {
  const compiled = await compile('agent/capture/live.ts', 'agent/capture/libpcap-child.ts');
  const child = join(compiled.folder, 'agent/capture/libpcap-child');
  await writeFile(`${child}.cjs`, `void import('${child}.js');`);
  return compiled;
}

const OPEN_SCRIPT = `
  import { openLiveSource } from './agent/capture/live.js';
  import { PortSet } from './agent/capture/source.js';
  import { systemClock } from './common/clock.js';
  import { silentLogger } from './common/log.js';
  try {
    const options = { ports: new PortSet([43800]), clock: systemClock, logger: silentLogger };
    const { source, passedOver } = await openLiveSource(options);
    console.log(source.name, 'passed over:', passedOver.map(({ name, reason }) => name + ' (' + reason + ')').join() || 'none');
    source.stop();
  } catch (error) {
    console.log(error.code, error.message);
  }`;
