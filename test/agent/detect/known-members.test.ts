import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { KnownMembers, MAX_KEYS, type SavedMembers } from '../../../agent/detect/known-members.ts';
import { openMembersFile } from '../../../agent/members-file.ts';
import type { Member } from '../../../agent/membership/provider.ts';
import { createWarningLogger, silentLogger } from '../../../common/log.ts';
import { membersView } from '../../support/fake-provider.ts';

const HOUR_MS = 3_600_000;
const START_MS = Date.UTC(2026, 10, 23, 12);

/** A node of Ray: the id is that of one start, the address stays. */
function rayNode(id: string, address: string): Member {
  return Object.assign({}, only(address), { id, hasFleetingId: true as const });
}

/** A pod: its name is its own, and its address may have been another's. */
function pod(id: string, address: string): Member {
  return Object.assign({}, only(address), { id });
}

function only(address: string): Member {
  const [member] = membersView(address).members;
  if (member === undefined) throw new Error(address);
  return member;
}

function listing(...members: Member[]) {
  return [{ source: 'fake', members }];
}

describe('KnownMembers', () => {
  it('tells of everybody in the first list that other agents have read, but for this node itself', () => {
    const readBy = (member: Member): Member => Object.assign({}, member, { readBy: 'w1 and w2' });
    const own = Object.assign({}, only('10.0.0.9'), { isLocal: true as const });
    const [a, evil, self] = [
      readBy(rayNode('a', '10.0.0.1')),
      readBy(rayNode('evil', '192.0.2.66')),
      readBy(rayNode('self', '10.0.0.9')),
    ];
    const known = new KnownMembers();
    expect(known.learn(listing(own, a, evil, self), START_MS)).toEqual([a, evil]);
    expect(known.learn(listing(own, a, evil, self), START_MS)).toEqual([]);
  });

  it("takes a source's first list for what was there, and tells of who joins later", () => {
    const known = new KnownMembers();
    expect(known.learn(listing(rayNode('a', '10.0.0.1')), START_MS)).toEqual([]);
    const joined = rayNode('b', '10.0.0.2');
    expect(known.learn(listing(rayNode('a', '10.0.0.1'), joined), START_MS)).toEqual([joined]);
    expect(known.learn(listing(rayNode('a', '10.0.0.1'), joined), START_MS)).toEqual([]);
  });

  it('knows a node of Ray that was started again, though it has another id', () => {
    const known = new KnownMembers();
    known.learn(listing(rayNode('a', '10.0.0.1')), START_MS);
    known.learn(listing(), START_MS);
    expect(known.learn(listing(rayNode('b', '10.0.0.1')), START_MS + HOUR_MS)).toEqual([]);
  });

  it('does not know whoever has the address an hour after the node has gone', () => {
    const known = new KnownMembers();
    known.learn(listing(rayNode('a', '10.0.0.1')), START_MS);
    known.learn(listing(), START_MS);
    known.learn(listing(), START_MS + HOUR_MS + 1);
    const other = rayNode('b', '10.0.0.1');
    expect(known.learn(listing(other), START_MS + HOUR_MS + 2)).toEqual([other]);
  });

  it('tells a pod from the one that had its address before', () => {
    const known = new KnownMembers();
    known.learn(listing(pod('ray/a', '10.0.0.1')), START_MS);
    const next = pod('ray/b', '10.0.0.1');
    expect(known.learn(listing(next), START_MS)).toEqual([next]);
  });

  it('tells of a node once, whichever sources list it', () => {
    const known = new KnownMembers();
    const sources = (...members: Member[]) => ['kubernetes', 'ray'].map((source) => ({ source, members }));
    known.learn(sources(), START_MS);
    expect(known.learn(sources(rayNode('a', '10.0.0.1')), START_MS)).toHaveLength(1);
  });

  it('says nothing of this node itself', () => {
    const known = new KnownMembers();
    known.learn(listing(), START_MS);
    const own = Object.assign({}, only('10.0.0.1'), { isLocal: true as const });
    expect(known.learn(listing(own), START_MS)).toEqual([]);
  });

  it('forgets nobody while a source is not heard', () => {
    const known = new KnownMembers();
    known.learn(listing(rayNode('a', '10.0.0.1')), START_MS);
    known.learn([], START_MS);
    known.learn([], START_MS + 2 * HOUR_MS);
    expect(known.learn(listing(rayNode('b', '10.0.0.1')), START_MS + 2 * HOUR_MS)).toEqual([]);
  });

  it('outlives a restart: who joined meanwhile is news, and nobody else', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-known-'));
    const open = () => new KnownMembers(openMembersFile(join(folder, 'state'), silentLogger));
    const before = open();
    before.learn(listing(rayNode('a', '10.0.0.1'), rayNode('b', '10.0.0.2')), START_MS);
    before.save();
    const after = open();
    const joined = rayNode('d', '10.0.0.4');
    const news = after.learn(listing(rayNode('c', '10.0.0.1'), joined), START_MS + 48 * HOUR_MS);
    expect(news).toEqual([joined]);
    await rm(folder, { recursive: true });
  });

  it('forgets who has left an hour after a restart, though the clock of the last run was ahead', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-known-'));
    const open = () => new KnownMembers(openMembersFile(folder, silentLogger));
    const before = open();
    before.learn(listing(rayNode('a', '10.0.0.1')), START_MS + 10_000 * HOUR_MS);
    before.learn(listing(), START_MS + 10_000 * HOUR_MS);
    before.save();
    const after = open();
    after.learn(listing(), START_MS);
    after.learn(listing(), START_MS + 2 * HOUR_MS);
    const back = rayNode('b', '10.0.0.1');
    expect(after.learn(listing(back), START_MS + 2 * HOUR_MS)).toEqual([back]);
    await rm(folder, { recursive: true });
  });

  it('outlives a restart though a source names more than the file takes, or at any length', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-known-'));
    const warnings: unknown[] = [];
    const open = () =>
      new KnownMembers(
        openMembersFile(
          folder,
          createWarningLogger((line) => warnings.push(line.msg)),
        ),
      );
    const before = open();
    const members = Array.from({ length: 2 * MAX_KEYS + 1 }, (_, index) => rayNode(`n${index}`, '10.0.0.1'));
    members.push(rayNode('x'.repeat(600), '10.0.0.1'));
    before.learn([{ source: 'fake', members }], START_MS);
    before.save();
    const joined = rayNode('stranger', '192.0.2.9');
    expect(open().learn(listing(...members.slice(-10, -1), joined), START_MS)).toEqual([joined]);
    expect(warnings).toEqual([]);
    await rm(folder, { recursive: true });
  });

  it('begins anew with a file that is spoilt, and says so', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-known-'));
    await writeFile(join(folder, 'known-members.json'), '{"version":2}');
    const warnings: unknown[] = [];
    const logger = createWarningLogger((line) => warnings.push(line.msg));
    const known = new KnownMembers(openMembersFile(folder, logger));
    expect(warnings).toEqual(['known members cannot be read: nobody is known']);
    expect(known.learn(listing(rayNode('a', '10.0.0.1')), START_MS)).toEqual([]);
    known.save();
    expect(new KnownMembers(openMembersFile(folder, logger)).learn(listing(), START_MS)).toEqual([]);
    expect(warnings).toHaveLength(1);
    await rm(folder, { recursive: true });
  });

  it('keeps the last list, and writes it when it changes, or now and then for its age', () => {
    let saves = 0;
    let saved: SavedMembers | undefined;
    const store = { load: () => saved, save: (members: SavedMembers) => ((saved = members), void saves++) };
    const known = new KnownMembers(store);
    const note = (asOfMs: number, ...addresses: string[]): void => {
      const own = Object.assign({}, only('10.0.0.9'), { isLocal: true as const });
      const members = [own, ...addresses.map((address) => rayNode(`id of ${address}`, address))];
      known.noteLists([{ source: 'fake', members, asOfMs }]);
      known.learn(listing(...members), asOfMs);
      known.save();
    };
    const listed = () => {
      const [list] = new KnownMembers(store).lastLists(START_MS + HOUR_MS, 2 * HOUR_MS);
      return list && { asOfMs: list.asOfMs, members: list.members.map(({ id }) => id) };
    };
    for (let second = 0; second < 590; second += 10) note(START_MS + second * 1000, '10.0.0.1', '10.0.0.2');
    expect(saves).toBe(1);
    expect(listed()).toEqual({ asOfMs: START_MS, members: ['id of 10.0.0.1', 'id of 10.0.0.2'] });
    note(START_MS + 600_000, '10.0.0.1', '10.0.0.2');
    expect([saves, listed()?.asOfMs]).toEqual([2, START_MS + 600_000]);
    note(START_MS + 610_000, '10.0.0.2');
    expect([saves, listed()]).toEqual([3, { asOfMs: START_MS + 610_000, members: ['id of 10.0.0.2'] }]);
  });

  it.each([
    ['as old as lists are kept', HOUR_MS, [START_MS]],
    ['older', HOUR_MS + 1, []],
    ['from a time to come', -HOUR_MS, [START_MS - HOUR_MS]],
  ])('has a last list that is %s', (_what, ageMs, asOfMs) => {
    const list = { asOfMs: START_MS, members: [] };
    const store = {
      load: (): SavedMembers => ({ version: 1, sources: [{ name: 'fake', keys: [], list }] }),
      save: () => {},
    };
    const lists = new KnownMembers(store).lastLists(START_MS + ageMs, HOUR_MS);
    expect(lists.map((each) => each.asOfMs)).toEqual(asOfMs);
  });
});
