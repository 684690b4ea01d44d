import { describe, expect, it } from 'vitest';
import { parseHostName } from '../../common/host-name.ts';

const LONGEST_LABEL = 'a'.repeat(63);
const LONGEST_NAME = `${LONGEST_LABEL}.${LONGEST_LABEL}.${LONGEST_LABEL}.${'a'.repeat(61)}`;

describe('parseHostName', () => {
  it.each([
    ['ray_head', 'ray_head'],
    ['_ray._tcp.Example.COM', '_ray._tcp.example.com'],
    ['project_ray-head_1.my_net.', 'project_ray-head_1.my_net.'],
    ['ray.1', 'ray.1'],
    ['a-.b', 'a-.b'],
    ['10.example', '10.example'],
    ['xn--bcher-kva.example', 'xn--bcher-kva.example'],
    [LONGEST_NAME, LONGEST_NAME],
    [`${LONGEST_NAME}.`, `${LONGEST_NAME}.`],
  ])('takes %s', (text, name) => {
    expect(parseHostName(text)).toBe(name);
  });

  it.each([
    '',
    '.',
    'a..b',
    '.a',
    'a..',
    '-a.b',
    'a b',
    'a/b',
    'bücher.example',
    `${LONGEST_LABEL}a.example`,
    `${LONGEST_NAME}a`,
  ])('refuses %j', (text) => {
    expect(parseHostName(text)).toBeUndefined();
  });

  // inet_aton(3) reads these as addresses, whatever the resolver knows.
  it.each(['127.1', '0x7f.1', '0x7F000001', '2130706433', '017700000001', '10.0.0.256', '127.1.', '0x.0'])(
    'refuses %s, an address in disguise',
    (text) => {
      expect(parseHostName(text)).toBeUndefined();
    },
  );
});
