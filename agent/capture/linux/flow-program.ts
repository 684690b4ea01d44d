/**
 * The program that keeps the flow table in the kernel: an eBPF socket filter (Linux: bpf/prog_sk_*,
 * networking/filter.rst) for a cooked packet socket, whose packets begin with the network header.
 *
 * One rule makes the counts exact: what goes up is counted in user space, what stays is counted here. Up go the first
 * packet or packets of each direction of a flow, those with SYN, FIN or RST, those that user space asked for, one in N
 * where sampling is on, and all that cannot be read here: fragments, odd headers. When the table is full, the
 * packets of flows that found no room go up as well: the counts stay exact, only the price rises.
 *
 * Tunnels that overlays use (VXLAN, Geneve, GRE, IP in IP) are looked into: the connection inside is the flow, as it is
 * for agent/decode; the key says which tunnel it came in.
 *
 * An exception from the rule are packets that the network card is to cut up, or has put together: they stand for many
 * on the wire, which only the kernel can tell. They are counted here even when they go up, and go up one byte shorter
 * than others (`COUNTED_SNAPLEN_BYTES`), by which user space knows.
 *
 * A SYN takes the entries of the connection before it out of the table, so that the counts of one connection never
 * become those of the next between the same endpoints. SYN and RST make no entry, so a flood of them does not touch the
 * table. A direction is counted on each interface for itself: a bridge or a container's pair of interfaces shows the same
 * packet again, and which of them counts is decided in user space, so that nobody hides a connection by forging its
 * first packets on another interface.
 *
 * The table is a plain hash table and not one that drops the least recently used: that one drops without a word, and
 * with it what was not read yet. User space takes out what is idle.
 */
import { assemble, exit, label, move } from './bpf-assembler.ts';
import type { FlowMaps } from './flow-layout.ts';
import { countKnownFlow, endFlowBefore, openFlow } from './flow-program/count.ts';
import { readIpv4, readIpv6, readLink, readVlanTags } from './flow-program/ip.ts';
import { readPorts, readSegment } from './flow-program/segment.ts';
import { readTunnel } from './flow-program/tunnel.ts';

/** Bytes of a packet that go up: from the network header on. */
export const FLOW_SNAPLEN_BYTES = 512;
/** What is left of a packet that goes up although it is counted. Such a packet is always longer. */
export const COUNTED_SNAPLEN_BYTES = FLOW_SNAPLEN_BYTES - 1;

/**
 * The program in the layout of `struct bpf_insn[]`.
 *
 * @param tunnelSeed that of the `Packet` which is filled with what goes up
 */
export function buildFlowProgram(maps: FlowMaps, tunnelSeed: number): Uint8Array {
  return assemble([
    ...readLink,
    ...readVlanTags,
    ...readIpv4,
    ...readIpv6,
    ...readTunnel(tunnelSeed | 0),
    ...readPorts(maps),
    ...readSegment,
    ...endFlowBefore(maps),
    ...countKnownFlow(maps),
    ...openFlow(maps),
    label('drop'),
    move('r0', 0),
    exit(),
    label('hand up'),
    move('r0', FLOW_SNAPLEN_BYTES),
    exit(),
    label('hand up counted'),
    move('r0', COUNTED_SNAPLEN_BYTES),
    exit(),
  ]);
}
