/** One address with two hardware addresses, from frames to reports. */
import { describe, expect, it } from 'vitest';
import { Frame } from '../../../agent/capture/source.ts';
import type { Pipeline } from '../../../agent/pipeline.ts';
import { NodeAddresses } from '../../../agent/membership/node-addresses.ts';
import type { Anomaly } from '../../../common/event.ts';
import { CLAIMED } from '../../../common/shared-view.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { openPipeline } from '../../support/judging-pipeline.ts';

const W1 = '10.0.0.1';
const W2 = '10.0.0.2';
const UNKNOWN = '10.0.0.66';
const PORT = 43_800;
const MAC_W1 = 0x02_00_00_00_00_01;
const MAC_W2 = 0x02_00_00_00_00_02;
const MAC_ROGUE = 0x02_00_00_00_00_66;
const START = 1_800_000_000;

const SYN = 0x02;
const SYN_ACK = 0x12;
const ACK = 0x10;

interface Segment {
  readonly mac: number;
  readonly from: string;
  readonly to: string;
  readonly fromPort: number;
  readonly toPort: number;
  readonly flags: number;
  readonly time: number;
  readonly sequence?: number;
  readonly acknowledgment?: number;
  readonly ttl?: number;
  readonly vlan?: number;
  readonly interfaceIndex?: number;
  readonly link?: 'ethernet' | 'cooked-1' | 'cooked-2';
}

/** Writes the link header and IPv4 with TCP, and hands it to the pipeline. */
function send(pipeline: Pipeline, segment: Segment): void {
  const {
    mac,
    ttl = 64,
    vlan,
    interfaceIndex = 1,
    link = 'ethernet',
    sequence = 1,
    acknowledgment = 0,
  } = segment;
  const view = new DataView(new ArrayBuffer(128));
  let offset = 0;
  const writeMac = (at: number): void => {
    view.setUint16(at, Math.floor(mac / 2 ** 32));
    view.setUint32(at + 2, mac % 2 ** 32);
  };
  if (link === 'ethernet') {
    writeMac(6);
    offset = 12;
    if (vlan !== undefined) {
      view.setUint32(offset, 0x81000000 + vlan);
      offset += 4;
    }
    view.setUint16(offset, 0x0800);
    offset += 2;
  } else if (link === 'cooked-1') {
    view.setUint16(4, 6);
    writeMac(6);
    view.setUint16(14, 0x0800);
    offset = 16;
  } else {
    view.setUint16(0, 0x0800);
    view.setUint32(4, interfaceIndex);
    view.setUint8(11, 6);
    writeMac(12);
    offset = 20;
  }
  view.setUint8(offset, 0x45);
  view.setUint16(offset + 2, 40);
  view.setUint8(offset + 8, ttl);
  view.setUint8(offset + 9, 6);
  view.setUint32(offset + 12, numberOf(segment.from));
  view.setUint32(offset + 16, numberOf(segment.to));
  view.setUint16(offset + 20, segment.fromPort);
  view.setUint16(offset + 22, segment.toPort);
  view.setUint32(offset + 24, sequence);
  view.setUint32(offset + 28, acknowledgment);
  view.setUint8(offset + 32, 5 << 4);
  view.setUint8(offset + 33, segment.flags);
  const frame = new Frame();
  frame.view = view;
  frame.capturedLength = offset + 40;
  frame.originalLength = offset + 40;
  frame.linkType = { ethernet: 1, 'cooked-1': 113, 'cooked-2': 276 }[link];
  frame.interfaceIndex = link === 'ethernet' ? interfaceIndex : 0;
  frame.seconds = segment.time;
  pipeline.frame(frame);
}

type Contact = Partial<Segment> & { readonly mac: number; readonly time: number };

/** A SYN from `w2`'s address to this node, and the rest of the handshake where it is answered. */
function contact(
  pipeline: Pipeline,
  { answered = true, ...options }: Contact & { readonly answered?: boolean },
): void {
  const forth = { from: W2, to: W1, fromPort: 5000 + (options.time % 1000), toPort: PORT, ...options };
  const back = {
    ...forth,
    mac: MAC_W1,
    ttl: 64,
    from: forth.to,
    to: forth.from,
    fromPort: forth.toPort,
    toPort: forth.fromPort,
  };
  send(pipeline, { ...forth, flags: SYN });
  if (!answered) return;
  send(pipeline, { ...back, flags: SYN_ACK, acknowledgment: 2 });
  send(pipeline, { ...forth, flags: ACK, sequence: 2, acknowledgment: 2 });
}

async function watch(members: readonly string[] = [W1, W2]) {
  const { pipeline, anomalies } = await openPipeline({
    members: members.map((member) => `${member}:${PORT}`),
    clock: new FakeClock(START * 1000),
  });
  return {
    pipeline,
    anomalies,
    conflicts: (): Anomaly[] => anomalies.filter(({ kind }) => kind === 'address-conflict'),
    severities: (): string[] =>
      anomalies.filter(({ kind }) => kind === 'address-conflict').map(({ severity }) => severity),
  };
}

describe('an address that two hosts use in turn', () => {
  it('is critical when both were answered, and says what was seen', async () => {
    const { pipeline, conflicts, severities } = await watch();
    contact(pipeline, { mac: MAC_W2, time: START });
    contact(pipeline, { mac: MAC_ROGUE, time: START + 5 });
    contact(pipeline, { mac: MAC_W2, time: START + 10 });
    expect(severities()).toEqual(['info', 'warning', 'critical']);
    expect(conflicts().at(-1)).toMatchObject({ peer: W2, node: 'w1', count: 2, flow: null });
    expect(conflicts().at(-1)?.message).toMatch(
      /^Address 10\.0\.0\.2 has several hardware addresses, 02:00:00:00:00:66 \(last at .*\), 02:00:00:00:00:02 \(last at .*\): two machines use it in turn/,
    );
    expect(new Set(conflicts().map(({ id }) => id)).size).toBe(1);
  });

  it.each<[string, Partial<Segment>]>([
    ['on a VLAN', { vlan: 7 }],
    ['on a second interface', { interfaceIndex: 9 }],
    ['of a capture of any device', { link: 'cooked-2' }],
    ['as a host that passes on what it has intercepted', { ttl: 63 }],
  ])('is found %s', async (_, options) => {
    const { pipeline, severities } = await watch();
    contact(pipeline, { ...options, ttl: 64, mac: MAC_W2, time: START });
    contact(pipeline, { ...options, mac: MAC_ROGUE, time: START + 5 });
    contact(pipeline, { ...options, ttl: 64, mac: MAC_W2, time: START + 10 });
    expect(severities().at(-1)).toBe('critical');
  });

  it('is found where this node opened the connections, too', async () => {
    const { pipeline, severities } = await watch();
    for (const [index, mac] of [MAC_W2, MAC_ROGUE, MAC_W2].entries()) {
      const time = START + index;
      const forth = { mac: MAC_W1, from: W1, to: W2, fromPort: 6000 + index, toPort: PORT, time };
      const back = { mac, from: W2, to: W1, fromPort: PORT, toPort: 6000 + index, time };
      send(pipeline, { ...forth, flags: SYN });
      send(pipeline, { ...back, flags: SYN_ACK, acknowledgment: 2 });
      send(pipeline, { ...forth, flags: ACK, sequence: 2, acknowledgment: 2 });
    }
    expect(severities().at(-1)).toBe('critical');
  });

  it('is no more than a warning by segments that anybody on the segment can forge', async () => {
    const { pipeline, severities } = await watch();
    for (let second = 0; second < 20; second += 2) {
      contact(pipeline, { mac: MAC_W2, time: START + second });
      contact(pipeline, { mac: MAC_ROGUE, time: START + second + 1, answered: false });
    }
    expect(severities()).toEqual(['info', 'warning']);
  });

  it('is reported again once a minute while it goes on, and not more often', async () => {
    const { pipeline, conflicts } = await watch();
    for (let second = 0; second < 300; second++) {
      contact(pipeline, { mac: second % 2 === 0 ? MAC_W2 : MAC_ROGUE, time: START + second });
      pipeline.tick((START + second) * 1000);
    }
    expect(conflicts()).toHaveLength(3 + 4);
  });
});

describe('normal are', () => {
  it('many addresses behind one hardware address', async () => {
    const members = Array.from({ length: 50 }, (_, index) => `10.0.1.${index}`);
    const { pipeline, conflicts } = await watch([W1, ...members]);
    for (const [index, from] of members.entries())
      contact(pipeline, { mac: MAC_W2, from, time: START + index });
    expect(conflicts()).toEqual([]);
  });

  it('an address that moves and stays: information, once', async () => {
    const { pipeline, severities } = await watch();
    contact(pipeline, { mac: MAC_W2, time: START });
    for (let second = 1; second < 60; second++) contact(pipeline, { mac: MAC_ROGUE, time: START + second });
    expect(severities()).toEqual(['info']);
  });

  it('a machine that is back at its place after hours', async () => {
    const { pipeline, severities } = await watch();
    contact(pipeline, { mac: MAC_W2, time: START });
    contact(pipeline, { mac: MAC_ROGUE, time: START + 10 });
    contact(pipeline, { mac: MAC_W2, time: START + 10_000 });
    expect(severities()).toEqual(['info']);
  });

  it('members behind two routers in turn', async () => {
    const { pipeline, conflicts } = await watch();
    for (let second = 0; second < 20; second++)
      contact(pipeline, { mac: second % 2 === 0 ? MAC_W2 : MAC_ROGUE, ttl: 62, time: START + second });
    expect(conflicts()).toEqual([]);
  });

  it('the same address on two segments: interfaces, VLANs', async () => {
    const { pipeline, conflicts } = await watch();
    for (let second = 0; second < 20; second += 2) {
      contact(pipeline, { mac: MAC_W2, time: START + second });
      contact(pipeline, { mac: MAC_ROGUE, interfaceIndex: 2, time: START + second + 1 });
      contact(pipeline, { mac: MAC_W1, vlan: 7, time: START + second + 1 });
    }
    expect(conflicts()).toEqual([]);
  });

  it('captures that say nothing of the segment, and loopback', async () => {
    const { pipeline, conflicts } = await watch();
    for (let second = 0; second < 20; second++) {
      contact(pipeline, {
        mac: second % 2 === 0 ? MAC_W2 : MAC_ROGUE,
        link: 'cooked-1',
        time: START + second,
      });
      contact(pipeline, { mac: 0, time: START + second });
    }
    expect(conflicts()).toEqual([]);
  });

  it('unknown peers that use an address in turn: they are reported as such', async () => {
    const { pipeline, anomalies } = await watch();
    for (let second = 0; second < 4; second++)
      contact(pipeline, { mac: second % 2 === 0 ? MAC_W2 : MAC_ROGUE, from: UNKNOWN, time: START + second });
    expect([...new Set(anomalies.map(({ kind }) => kind))]).toEqual(['unexpected-peer']);
  });
});

it("whoever forges members' addresses by the thousand keeps no real one from being watched", async () => {
  const { pipeline, severities } = await watch([
    W1,
    W2,
    ...Array.from({ length: 10_000 }, (_, index) => `10.1.${index >> 8}.${index & 255}`),
  ]);
  contact(pipeline, { mac: MAC_W2, time: START });
  for (let index = 0; index < 10_000; index++)
    contact(pipeline, {
      mac: MAC_ROGUE,
      from: `10.1.${index >> 8}.${index & 255}`,
      time: START + 1,
      answered: false,
    });
  contact(pipeline, { mac: MAC_ROGUE, time: START + 2 });
  contact(pipeline, { mac: MAC_W2, time: START + 3 });
  expect(severities().at(-1)).toBe('critical');
});

describe('an unknown peer', () => {
  const messageOf = async (
    mac: number,
    members: readonly string[] = [W2],
    ttl = 64,
  ): Promise<string | undefined> => {
    const { pipeline, anomalies } = await watch([W1, ...members]);
    for (const [index, from] of members.entries())
      contact(pipeline, { mac: MAC_W2, from, time: START + index });
    contact(pipeline, { mac, ttl, from: UNKNOWN, time: START + 100 });
    return anomalies.find(({ kind }) => kind === 'unexpected-peer')?.message;
  };

  it('with the hardware address of a member may be its second address', async () => {
    expect(await messageOf(MAC_W2)).toMatch(
      /; it may be a second address of 10\.0\.0\.2: same hardware address$/,
    );
  });

  it('with another one, or that of a router or of a host of many, is nobody in particular', async () => {
    expect(await messageOf(MAC_ROGUE)).toMatch(/\(no rule allows it\)$/);
    expect(await messageOf(MAC_W2, [W2], 63)).toMatch(/\(no rule allows it\)$/);
    expect(await messageOf(MAC_W2, ['10.0.1.1', '10.0.1.2', '10.0.1.3', '10.0.1.4'])).toMatch(
      /\(no rule allows it\)$/,
    );
  });
});

describe('an unknown peer that a node says is its own address', () => {
  const nodes = async (claimed: boolean): Promise<Anomaly[]> => {
    const nodeAddresses = new NodeAddresses();
    const { pipeline, anomalies } = await openPipeline({
      members: [`${W1}:${PORT}`, `${W2}:${PORT}`],
      clock: new FakeClock(START * 1000),
      nodeAddresses,
    });
    const group = claimed ? { group: CLAIMED } : {};
    nodeAddresses.take([{ id: 'w2', addresses: claimed ? [UNKNOWN] : [W2, UNKNOWN], ports: [], ...group }]);
    contact(pipeline, { mac: MAC_ROGUE, from: UNKNOWN, time: START });
    return anomalies;
  };

  it('is reported with the hint while that does not count, and not once it does', async () => {
    const [anomaly, ...others] = await nodes(true);
    expect(others).toEqual([]);
    expect(anomaly).toMatchObject({ kind: 'unexpected-peer', severity: 'critical' });
    expect(anomaly?.message).toMatch(/; it may be a second address of w2, whose agent says so: resolve/);
    expect(await nodes(false)).toEqual([]);
  });
});

function numberOf(text: string): number {
  return text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
}
