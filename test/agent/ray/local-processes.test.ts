import { describe, expect, it } from 'vitest';
import type { Owner } from '../../../agent/process/socket-owners.ts';
import { LocalProcesses } from '../../../agent/ray/local-processes.ts';
import type { Raylet } from '../../../agent/ray/raylet.ts';
import { parseAddress, type Address } from '../../../common/address.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { sampleRaylet } from '../../support/sample-raylet.ts';

const ENDS = { local: address('10.0.0.1'), localPort: 5000, remote: address('10.0.0.2'), remotePort: 43_800 };
const PROCESS = {
  pid: 812,
  startTicks: 1,
  name: 'nc',
  userId: 1000,
  realUserId: 1000,
  executable: '/usr/bin/nc',
  commandLine: 'nc',
  containment: {},
};

function owner(process: Owner['process'], userId = 1000): Owner {
  return { process, userId, description: { user: { id: String(userId) } } };
}

function processes(changes: {
  readonly found?: Owner | undefined;
  readonly rayletAt?: Raylet;
  readonly raylets?: readonly Raylet[];
  readonly addresses?: string[];
  readonly clock?: FakeClock;
}): LocalProcesses {
  return new LocalProcesses({
    clock: changes.clock ?? new FakeClock(),
    owners: { find: () => Promise.resolve(changes.found) },
    localAddresses: () => changes.addresses ?? [],
    rayletAt: () => Promise.resolve(changes.rayletAt),
    raylets: () => Promise.resolve(changes.raylets ?? []),
  });
}

describe('LocalProcesses', () => {
  it.each([
    ['of a raylet that is listed', [sampleRaylet()], undefined, true],
    ['of a raylet that has started since the list was made', [], sampleRaylet(), true],
    ['of another raylet than those that are listed', [sampleRaylet({ pid: 1 })], sampleRaylet(), true],
    ['of no raylet', [sampleRaylet({ pid: 1 })], undefined, undefined],
  ])("knows Ray's own program: %s", async (_title, raylets, above, expected) => {
    const local = new LocalProcesses({
      clock: new FakeClock(),
      owners: { find: () => Promise.resolve(owner(PROCESS)) },
      localAddresses: () => [],
      rayletAt: () => Promise.resolve(undefined),
      raylets: () => Promise.resolve(raylets),
      isOfRay: (_pid, all) => Promise.resolve(all.some(({ pid }) => pid === sampleRaylet().pid)),
      rayletAbove: () => Promise.resolve(above),
    });
    expect((await local.find(ENDS))?.isOfRay).toBe(expected);
  });

  it.each([
    ['a proven raylet', { found: owner(PROCESS), rayletAt: sampleRaylet() }, true],
    [
      'a raylet by its own word alone',
      { found: owner(PROCESS), rayletAt: sampleRaylet({ isProven: false }) },
      false,
    ],
    ['another program', { found: owner(PROCESS) }, false],
    [
      'a hidden program of the user of a raylet',
      { found: owner(undefined), raylets: [sampleRaylet()] },
      undefined,
    ],
    [
      'a hidden program of the user of a raylet by its own word alone',
      { found: owner(undefined), raylets: [sampleRaylet({ isProven: false })] },
      false,
    ],
    ['a hidden program of somebody else', { found: owner(undefined, 0), raylets: [sampleRaylet()] }, false],
  ])('tells whether it is a raylet: %s', async (_title, changes, isRaylet) => {
    expect(await processes(changes).find(ENDS)).toMatchObject({ isRaylet });
  });

  it('finds nobody where the socket has no owner', async () => {
    expect(await processes({}).find(ENDS)).toBeUndefined();
  });

  it("knows this machine's addresses, and learns of new ones after five seconds", () => {
    const clock = new FakeClock();
    const addresses = ['10.0.0.1', 'fd77::11', '127.0.0.1'];
    const local = processes({ clock, addresses });
    const known = (): boolean[] =>
      ['10.0.0.1', 'fd77::11', '10.0.0.3'].map((text) => local.isLocal(address(text)));
    expect(known()).toEqual([true, true, false]);
    addresses.push('10.0.0.3');
    clock.advance(4999);
    expect(known()).toEqual([true, true, false]);
    clock.advance(1);
    expect(known()).toEqual([true, true, true]);
  });
});

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(`no address: ${text}`);
  return parsed;
}
