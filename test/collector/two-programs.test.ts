/** Programs of a node that talk to object managers: each program of a user is an incident of its own. */
import { expect, it } from 'vitest';
import { storyOf } from '../../collector/incident/story.ts';
import type { Anomaly } from '../../common/event.ts';
import { openParts, TEST_EPOCH } from '../support/collector-parts.ts';
import { contactOf } from '../support/unknown-peer.ts';

type Program = Pick<Anomaly, 'process' | 'user' | 'container'>;

const SOCAT: Program = {
  process: {
    pid: 1,
    name: 'socat',
    executable: '/usr/bin/socat',
    command_line: 'socat - TCP:10.0.0.12:43800',
  },
  user: { id: '0', name: 'root' },
};
const PYTHON: Program = {
  process: { pid: 2, name: 'python3', executable: '/usr/bin/python3' },
  user: { id: '65534' },
};

function foreign(program: Program, { node = 'w1', visit = 1 } = {}): Anomaly {
  return { ...contactOf({ peer: '10.0.0.11', kind: 'foreign-process', node, visit }), ...program };
}

it.each([
  ['the same program, started again', SOCAT, { ...SOCAT, process: { ...SOCAT.process!, pid: 7 } }, true],
  [
    'another command line',
    SOCAT,
    { ...SOCAT, process: { ...SOCAT.process!, command_line: 'socat x' } },
    true,
  ],
  ['another program of another user', SOCAT, PYTHON, false],
  ['another program of the same user', SOCAT, { ...SOCAT, process: PYTHON.process }, false],
  ['the same program of another user', SOCAT, { ...SOCAT, user: { id: '65534' } }, false],
  ['the same program in a container', SOCAT, { ...SOCAT, container: { id: 'c1' } }, false],
  ['users alone, where no program is known', { user: { id: '0' } }, { user: { id: '1' } }, false],
  ['nothing known of either', {}, {}, true],
] as const)('%s: one incident or two', (_what, one, other, isSame) => {
  const [a, b] = [storyOf(foreign(one)), storyOf(foreign(other))];
  expect(a.fingerprint === b.fingerprint).toBe(isSame);
});

it('are two incidents, each with its own words, and both are notified', async () => {
  const { recorder, store, announcer, clock } = await openParts();
  recorder.record('w1', TEST_EPOCH, [
    { sequence: 1, report: { ...foreign(SOCAT), message: 'socat talks' } },
    { sequence: 2, report: { ...foreign(PYTHON, { visit: 2 }), message: 'python3 talks' } },
  ]);
  clock.advance(60_000);
  announcer.tellDue();
  const notifications = store.pending('ops', 100);
  expect(notifications.map(({ type, incident }) => [type, incident.title])).toEqual([
    ['opened', 'A foreign process (/usr/bin/socat of user 0) uses the port of the object manager on w1'],
    [
      'opened',
      'A foreign process (/usr/bin/python3 of user 65534) uses the port of the object manager on w1',
    ],
  ]);
  expect(notifications[1]?.incident.message).toContain('python3 talks');
  store.close();
});

it('are one incident where a user starts a program under many names', async () => {
  const { recorder, store } = await openParts();
  for (let index = 0; index < 100; index++) {
    const process = { pid: index + 1, name: 'x', executable: `/tmp/x${index}` };
    const report = foreign({ process, user: { id: '1000' } }, { visit: index });
    recorder.record('w1', TEST_EPOCH, [{ sequence: index + 1, report }]);
  }
  const { incidents } = store.incidents({ state: 'unresolved', limit: 100 });
  expect(incidents.map(({ breadth, anomalyCount }) => [breadth, anomalyCount])).toEqual([['kind', 100]]);
  store.close();
});
