import { describe, expect, it } from 'vitest';
import { findOwnPort, isConfirmed, portInWords, type OwnPort } from '../../../agent/membership/own-port.ts';
import type { Member } from '../../../agent/membership/provider.ts';
import type { Raylet } from '../../../agent/ray/raylet.ts';
import { parseAddress, type Address } from '../../../common/address.ts';
import type { ServicePorts } from '../../../rules/schema.ts';
import { sampleRaylet } from '../../support/sample-raylet.ts';

const OWN = '10.0.0.1';

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(`no address: ${text}`);
  return parsed;
}

function member(source: string, at: string, port: number | undefined, changes: Partial<Member> = {}): Member {
  const ports = new Map(port === undefined ? [] : [['object-manager', [port]] as const]);
  return { id: at, addresses: [address(at)], ports, source, ...changes };
}

interface Situation {
  readonly pinned?: ServicePorts;
  readonly members?: readonly Member[];
  readonly raylets?: readonly Raylet[] | undefined;
  readonly listening?: readonly number[];
}

function find({ pinned = 'auto', members = [], listening = [], ...rest }: Situation): Promise<OwnPort> {
  return findOwnPort({
    services: new Map([['object-manager', pinned]]),
    members,
    raylets: 'raylets' in rest ? rest.raylets : [],
    localAddresses: ['127.0.0.1', OWN],
    isListenedAt: (at, port) =>
      Promise.resolve([OWN, '127.0.0.1'].some((own) => sameText(at, own)) && listening.includes(port)),
    guessed: [43_800],
  });
}

function sameText(at: Address, text: string): boolean {
  const { w3 } = address(text);
  return at.w3 === w3;
}

const UNPROVEN = sampleRaylet({ isProven: false, doubt: 'user', objectManagerPort: 36_875 });
const claimed = (port: number): Partial<Member> => ({
  ports: new Map(),
  claimedPorts: new Map([['object-manager', [port]]]),
});

describe('findOwnPort', () => {
  it.each([
    ['a proven raylet that listens there', { raylets: [sampleRaylet()] }, 'raylet', [36_875]],
    [
      'a proven raylet that listens at several ports',
      { raylets: [sampleRaylet({ objectManagerPort: undefined, listeningPorts: [36_875, 39_629] })] },
      'raylet',
      [36_875, 39_629],
    ],
    [
      'the dashboard, where somebody listens there',
      { members: [member('ray', OWN, undefined, claimed(4711))], listening: [4711] },
      'dashboard',
      [4711],
    ],
    [
      "another agent's view, where somebody listens there",
      {
        members: [member('ray, read by w2', OWN, undefined, { ...claimed(4711), readBy: 'w2' })],
        listening: [4711],
      },
      'shared view',
      [4711],
    ],
    [
      'a pod on the network of its host, where somebody listens there',
      { members: [member('kubernetes ray', OWN, 4711)], listening: [4711] },
      'pod',
      [4711],
    ],
    [
      'pods that all state it',
      { members: [member('kubernetes ray', '10.1.0.1', 4711), member('kubernetes ray', '10.1.0.2', 4712)] },
      'pod',
      [4711, 4712],
    ],
    ['the rules', { pinned: [{ first: 5000, last: 5000 }] }, 'rules', [5000]],
    [
      'the rules, where a raylet listens there',
      { pinned: [{ first: 36_000, last: 37_000 }], raylets: [sampleRaylet()] },
      'rules',
      [36_000],
    ],
    [
      'the rules, whatever an unproven raylet claims',
      { pinned: [{ first: 5000, last: 5000 }], raylets: [UNPROVEN] },
      'rules',
      [5000],
    ],
    [
      'a list of members, where somebody listens there',
      { members: [member('file nodes.yaml', OWN, 4711)], listening: [4711] },
      'rules',
      [4711],
    ],
  ] satisfies [string, Situation, string, number[]][])(
    'is told by %s',
    async (_title, situation, source, ports) => {
      const port = await find(situation);
      expect(port).toEqual({ source, ports });
      expect(isConfirmed(port)).toBe(true);
    },
  );

  it.each([
    ['nobody is there', {}, 'no raylet is seen here'],
    ['raylets cannot be looked for', { raylets: undefined }, 'raylets cannot be looked for'],
    ['the only raylet is not proven', { raylets: [UNPROVEN] }, 'raylet 6316 is not proven'],
    [
      'a proven raylet does not show where it listens',
      { raylets: [sampleRaylet({ objectManagerPort: undefined })] },
      'where raylet 6316 listens is not known',
    ],
    [
      'one of two raylets does not show where it listens',
      { raylets: [sampleRaylet(), sampleRaylet({ pid: 7, objectManagerPort: undefined })] },
      'where raylet 7 listens is not known',
    ],
    [
      'the dashboard tells a port at which nobody listens',
      { members: [member('ray', OWN, undefined, claimed(4711))] },
      'no raylet is seen here',
    ],
    [
      'only other nodes have ports',
      { members: [member('ray', '10.0.0.2', 4711)], listening: [4711] },
      'no raylet is seen here',
    ],
    [
      'this node names its own port',
      { members: [member('ray', OWN, 4711, { isLocal: true })], listening: [4711] },
      'no raylet is seen here',
    ],
    [
      'one pod states no port',
      {
        members: [
          member('kubernetes ray', '10.1.0.1', 4711),
          member('kubernetes ray', '10.1.0.2', undefined),
        ],
      },
      'no raylet is seen here',
    ],
    [
      'the rules say another port than the raylet listens at',
      { pinned: [{ first: 5000, last: 5000 }], raylets: [sampleRaylet()] },
      'the rules say so, and raylet 6316 listens at 36875',
    ],
  ] satisfies [string, Situation, string][])('is a guess where %s', async (_title, situation, doubt) => {
    const port = await find(situation);
    expect(port).toMatchObject({ source: 'guess', doubt });
    expect(isConfirmed(port)).toBe(false);
    expect(portInWords(port)).toContain(`guessed, not confirmed: ${doubt}`);
  });
});
