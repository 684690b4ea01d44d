import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import * as linux from '../../../../agent/capture/linux/constants.ts';

const hasCompiler = process.platform === 'linux' && spawnSync('which', ['cc']).status === 0;

/** What the headers say, by the expression that a C program prints. */
const EXPECTED: Readonly<Record<string, number>> = {
  AF_PACKET: linux.AF_PACKET,
  SOCK_DGRAM: linux.SOCK_DGRAM,
  SOCK_CLOEXEC: linux.SOCK_CLOEXEC,
  SOL_SOCKET: linux.SOL_SOCKET,
  SO_ERROR: linux.SO_ERROR,
  SO_ATTACH_FILTER: linux.SO_ATTACH_FILTER,
  SO_ATTACH_BPF: linux.SO_ATTACH_BPF,
  SOL_PACKET: linux.SOL_PACKET,
  PACKET_RX_RING: linux.PACKET_RX_RING,
  PACKET_STATISTICS: linux.PACKET_STATISTICS,
  PACKET_VERSION: linux.PACKET_VERSION,
  TPACKET_V3: linux.TPACKET_V3,
  PACKET_OUTGOING: linux.PACKET_OUTGOING,
  TP_STATUS_USER: linux.TP_STATUS_USER,
  TP_STATUS_VLAN_VALID: linux.TP_STATUS_VLAN_VALID,
  ETH_P_ALL: linux.ETH_P_ALL,
  ETH_P_8021AD: linux.ETH_P_8021AD,
  ETH_P_QINQ1: linux.ETH_P_QINQ1,
  ETH_P_TEB: linux.ETH_P_TEB,
  ARPHRD_INFINIBAND: linux.ARPHRD_INFINIBAND,
  ARPHRD_LOOPBACK: linux.ARPHRD_LOOPBACK,
  PROT_WRITE: linux.PROT_WRITE,
  MAP_SHARED: linux.MAP_SHARED,
  MAP_PRIVATE: linux.MAP_PRIVATE,
  MAP_ANONYMOUS: linux.MAP_ANONYMOUS,
  CLOCK_MONOTONIC: linux.CLOCK_MONOTONIC,
  POLLIN: linux.POLLIN,
  POLLERR: linux.POLLERR,
  EFD_CLOEXEC: linux.EFD_CLOEXEC,
  EFD_NONBLOCK: linux.EFD_NONBLOCK,
  CAP_NET_RAW: linux.CAP_NET_RAW,
  CAP_BPF: linux.CAP_BPF,
  BPF_MAXINSNS: linux.BPF_MAXINSNS,
  'sizeof(struct sockaddr_ll)': linux.SOCKADDR_LL.size,
  'offsetof(struct sockaddr_ll, sll_protocol)': linux.SOCKADDR_LL.protocol,
  'offsetof(struct sockaddr_ll, sll_ifindex)': linux.SOCKADDR_LL.ifindex,
  'offsetof(struct sockaddr_ll, sll_hatype)': linux.SOCKADDR_LL.hatype,
  'offsetof(struct sockaddr_ll, sll_pkttype)': linux.SOCKADDR_LL.pkttype,
  'sizeof(struct tpacket_req3)': linux.TPACKET_REQ3.size,
  'offsetof(struct tpacket_req3, tp_block_nr)': linux.TPACKET_REQ3.blockCount,
  'offsetof(struct tpacket_req3, tp_frame_size)': linux.TPACKET_REQ3.frameSize,
  'offsetof(struct tpacket_req3, tp_frame_nr)': linux.TPACKET_REQ3.frameCount,
  'offsetof(struct tpacket_req3, tp_retire_blk_tov)': linux.TPACKET_REQ3.retireBlockTimeoutMs,
  'sizeof(struct tpacket_stats_v3)': linux.TPACKET_STATS_V3.size,
  'offsetof(struct tpacket_stats_v3, tp_drops)': linux.TPACKET_STATS_V3.drops,
  'offsetof(struct tpacket_block_desc, hdr.bh1.block_status)': linux.TPACKET_BLOCK_DESC.blockStatus,
  'offsetof(struct tpacket_block_desc, hdr.bh1.num_pkts)': linux.TPACKET_BLOCK_DESC.packetCount,
  'offsetof(struct tpacket_block_desc, hdr.bh1.offset_to_first_pkt)':
    linux.TPACKET_BLOCK_DESC.offsetToFirstPacket,
  'TPACKET_ALIGN(sizeof(struct tpacket3_hdr))': linux.TPACKET3_HDR.size,
  'offsetof(struct tpacket3_hdr, tp_next_offset)': linux.TPACKET3_HDR.nextOffset,
  'offsetof(struct tpacket3_hdr, tp_sec)': linux.TPACKET3_HDR.seconds,
  'offsetof(struct tpacket3_hdr, tp_nsec)': linux.TPACKET3_HDR.nanoseconds,
  'offsetof(struct tpacket3_hdr, tp_snaplen)': linux.TPACKET3_HDR.capturedLength,
  'offsetof(struct tpacket3_hdr, tp_len)': linux.TPACKET3_HDR.length,
  'offsetof(struct tpacket3_hdr, tp_status)': linux.TPACKET3_HDR.status,
  'offsetof(struct tpacket3_hdr, tp_net)': linux.TPACKET3_HDR.networkOffset,
  'sizeof(struct pollfd)': linux.POLLFD.size,
  'offsetof(struct pollfd, events)': linux.POLLFD.events,
  'offsetof(struct pollfd, revents)': linux.POLLFD.revents,
  'sizeof(struct sock_filter)': linux.SOCK_FILTER.size,
  'offsetof(struct sock_filter, jt)': linux.SOCK_FILTER.jumpTrue,
  'offsetof(struct sock_filter, jf)': linux.SOCK_FILTER.jumpFalse,
  'offsetof(struct sock_filter, k)': linux.SOCK_FILTER.operand,
  SYS_bpf: linux.BPF_SYSTEM_CALL[process.arch] ?? 0,
  ...linux.BPF_COMMAND,
  BPF_MAP_TYPE_HASH: linux.BPF_MAP_TYPE_HASH,
  BPF_MAP_TYPE_ARRAY: linux.BPF_MAP_TYPE_ARRAY,
  BPF_MAP_TYPE_QUEUE: linux.BPF_MAP_TYPE_QUEUE,
  BPF_PROG_TYPE_SOCKET_FILTER: linux.BPF_PROG_TYPE_SOCKET_FILTER,
  BPF_ANY: linux.BPF_ANY,
  BPF_NOEXIST: linux.BPF_NOEXIST,
  'offsetof(union bpf_attr, map_type)': linux.BPF_ATTR_MAP_CREATE.mapType,
  'offsetof(union bpf_attr, key_size)': linux.BPF_ATTR_MAP_CREATE.keySize,
  'offsetof(union bpf_attr, value_size)': linux.BPF_ATTR_MAP_CREATE.valueSize,
  'offsetof(union bpf_attr, max_entries)': linux.BPF_ATTR_MAP_CREATE.maxEntries,
  'offsetof(union bpf_attr, map_flags)': linux.BPF_ATTR_MAP_CREATE.mapFlags,
  'offsetof(union bpf_attr, map_name)': linux.BPF_ATTR_MAP_CREATE.size,
  'offsetof(union bpf_attr, map_fd)': linux.BPF_ATTR_ELEMENT.mapFd,
  'offsetof(union bpf_attr, key)': linux.BPF_ATTR_ELEMENT.key,
  'offsetof(union bpf_attr, value)': linux.BPF_ATTR_ELEMENT.value,
  'offsetof(union bpf_attr, flags)': linux.BPF_ATTR_ELEMENT.flags,
  'offsetof(union bpf_attr, batch.in_batch)': linux.BPF_ATTR_BATCH.inBatch,
  'offsetof(union bpf_attr, batch.out_batch)': linux.BPF_ATTR_BATCH.outBatch,
  'offsetof(union bpf_attr, batch.keys)': linux.BPF_ATTR_BATCH.keys,
  'offsetof(union bpf_attr, batch.values)': linux.BPF_ATTR_BATCH.values,
  'offsetof(union bpf_attr, batch.count)': linux.BPF_ATTR_BATCH.count,
  'offsetof(union bpf_attr, batch.map_fd)': linux.BPF_ATTR_BATCH.mapFd,
  'offsetof(union bpf_attr, prog_type)': linux.BPF_ATTR_PROG_LOAD.progType,
  'offsetof(union bpf_attr, insn_cnt)': linux.BPF_ATTR_PROG_LOAD.instructionCount,
  'offsetof(union bpf_attr, insns)': linux.BPF_ATTR_PROG_LOAD.instructions,
  'offsetof(union bpf_attr, license)': linux.BPF_ATTR_PROG_LOAD.license,
  'offsetof(union bpf_attr, log_level)': linux.BPF_ATTR_PROG_LOAD.logLevel,
  'offsetof(union bpf_attr, log_size)': linux.BPF_ATTR_PROG_LOAD.logSize,
  'offsetof(union bpf_attr, log_buf)': linux.BPF_ATTR_PROG_LOAD.logBuffer,
  'offsetof(struct __sk_buff, len)': linux.SK_BUFF.length,
  'offsetof(struct __sk_buff, pkt_type)': linux.SK_BUFF.packetType,
  'offsetof(struct __sk_buff, protocol)': linux.SK_BUFF.protocol,
  'offsetof(struct __sk_buff, vlan_present)': linux.SK_BUFF.vlanPresent,
  'offsetof(struct __sk_buff, ifindex)': linux.SK_BUFF.interfaceIndex,
  'offsetof(struct __sk_buff, gso_segs)': linux.SK_BUFF.gsoSegments,
  'offsetof(struct __sk_buff, gso_size)': linux.SK_BUFF.gsoSize,
};

const HEADERS = [
  'stddef.h',
  'stdio.h',
  'poll.h',
  'sys/eventfd.h',
  'sys/mman.h',
  'sys/socket.h',
  'sys/syscall.h',
  'time.h',
  'linux/bpf.h',
  'linux/capability.h',
  'linux/filter.h',
  'linux/if_arp.h',
  'linux/if_ether.h',
  'linux/if_packet.h',
];

describe.skipIf(!hasCompiler)('kernel constants (needs cc)', () => {
  it('are what a C compiler finds in the headers', () => {
    const folder = mkdtempSync(join(tmpdir(), 'plasmawatch-constants-'));
    try {
      const expressions = Object.keys(EXPECTED);
      const source = [
        ...HEADERS.map((header) => `#include <${header}>`),
        'int main(void) {',
        ...expressions.map((expression) => `printf("%ld\\n", (long)(${expression}));`),
        'return 0; }',
      ].join('\n');
      writeFileSync(join(folder, 'print.c'), source);
      execFileSync('cc', ['-o', join(folder, 'print'), join(folder, 'print.c')]);
      const printed = execFileSync(join(folder, 'print'), { encoding: 'utf8' })
        .trim()
        .split('\n')
        .map(Number);
      const found = Object.fromEntries(expressions.map((expression, index) => [expression, printed[index]]));
      expect(found).toEqual(EXPECTED);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
