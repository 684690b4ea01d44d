/**
 * Numbers of the Linux system call interface, under the names of their headers. All of them are the same on x86-64
 * and arm64; struct layouts are compared with what a C compiler says by a test.
 */
import { endianness } from 'node:os';

/** Structs of the kernel are in the byte order of the machine. */
export const HOST_IS_LITTLE_ENDIAN = endianness() === 'LE';

/** sys/socket.h */
export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;
export const AF_PACKET = 17;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_NONBLOCK = 0x800;
export const SOCK_CLOEXEC = 0x80000;
export const MSG_DONTWAIT = 0x40;
export const IPPROTO_TCP = 6;
/** asm-generic/socket.h */
export const SOL_SOCKET = 1;
export const SO_ERROR = 4;
export const SO_ATTACH_FILTER = 26;
export const SO_ATTACH_BPF = 50;

/** linux/if_packet.h */
export const SOL_PACKET = 263;
export const PACKET_RX_RING = 5;
export const PACKET_STATISTICS = 6;
export const PACKET_VERSION = 10;
export const TPACKET_V3 = 2;
export const PACKET_OUTGOING = 4;
export const TP_STATUS_KERNEL = 0;
export const TP_STATUS_USER = 1;
export const TP_STATUS_VLAN_VALID = 1 << 4;

/** linux/if_ether.h */
export const ETH_P_ALL = 0x0003;
export const ETH_P_IP = 0x0800;
export const ETH_P_IPV6 = 0x86dd;
export const ETH_P_8021Q = 0x8100;
export const ETH_P_8021AD = 0x88a8;
export const ETH_P_QINQ1 = 0x9100;

export const ETH_P_TEB = 0x6558;

/** linux/if_arp.h */
export const ARPHRD_ETHER = 1;
export const ARPHRD_INFINIBAND = 32;
export const ARPHRD_LOOPBACK = 772;

/** asm-generic/mman-common.h and asm-generic/mman.h */
export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const MAP_SHARED = 1;
export const MAP_PRIVATE = 2;
export const MAP_ANONYMOUS = 0x20;

/** linux/time.h */
export const CLOCK_MONOTONIC = 1;

/** asm-generic/poll.h */
export const POLLIN = 0x001;
export const POLLERR = 0x008;
/** sys/eventfd.h */
export const EFD_CLOEXEC = 0x80000;
export const EFD_NONBLOCK = 0x800;

/** linux/capability.h */
export const CAP_DAC_READ_SEARCH = 2;
export const CAP_NET_RAW = 13;
export const CAP_SYS_PTRACE = 19;
export const CAP_BPF = 39;

/** linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h */
export const NETLINK_ROUTE = 0;
export const NETLINK_SOCK_DIAG = 4;
export const NLM_F_REQUEST = 1;
export const NLM_F_DUMP = 0x300;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
/** linux/rtnetlink.h */
export const RTM_NEWLINK = 16;
export const RTM_GETLINK = 18;
export const SOCK_DIAG_BY_FAMILY = 20;
export const INET_DIAG_NOCOOKIE = 0xffff_ffff;

/** `struct nlmsghdr` of linux/netlink.h; the message follows. */
export const NLMSGHDR = { size: 16, length: 0, type: 4, flags: 6, sequence: 8 } as const;
/** `struct inet_diag_req_v2` of linux/inet_diag.h. */
export const INET_DIAG_REQ_V2 = { size: 56, family: 0, protocol: 1, states: 4, id: 8 } as const;
/** `struct inet_diag_msg` of linux/inet_diag.h. */
export const INET_DIAG_MSG = { size: 72, family: 0, state: 1, id: 4, userId: 64, inode: 68 } as const;
/** `struct inet_diag_sockid` of linux/inet_diag.h, ports and addresses in network order. */
export const INET_DIAG_SOCKID = {
  localPort: 0,
  remotePort: 2,
  local: 4,
  remote: 20,
  cookie: 40,
} as const;

/** `struct sockaddr_ll` of linux/if_packet.h. */
export const SOCKADDR_LL = {
  size: 20,
  family: 0,
  protocol: 2,
  ifindex: 4,
  hatype: 8,
  pkttype: 10,
  addressLength: 11,
  address: 12,
} as const;

/** `struct tpacket_req3` of linux/if_packet.h; seven 32-bit words. */
export const TPACKET_REQ3 = {
  size: 28,
  blockSize: 0,
  blockCount: 4,
  frameSize: 8,
  frameCount: 12,
  retireBlockTimeoutMs: 16,
} as const;

/** `struct tpacket_stats_v3` of linux/if_packet.h. */
export const TPACKET_STATS_V3 = { size: 12, packets: 0, drops: 4 } as const;

/** `struct tpacket_block_desc` with its `struct tpacket_hdr_v1`, of linux/if_packet.h. */
export const TPACKET_BLOCK_DESC = { blockStatus: 8, packetCount: 12, offsetToFirstPacket: 16 } as const;

/** `struct tpacket3_hdr` of linux/if_packet.h; the `sockaddr_ll` of the packet follows at `size`, aligned to 16. */
export const TPACKET3_HDR = {
  size: 48,
  nextOffset: 0,
  seconds: 4,
  nanoseconds: 8,
  capturedLength: 12,
  length: 16,
  status: 20,
  networkOffset: 26,
  vlanTci: 32,
} as const;

/** `struct pollfd` of poll.h. */
export const POLLFD = { size: 8, fd: 0, events: 4, revents: 6 } as const;

/** `struct sock_filter` of linux/filter.h. */
export const SOCK_FILTER = { size: 8, code: 0, jumpTrue: 2, jumpFalse: 3, operand: 4 } as const;
/** linux/bpf_common.h: a longer classic program is refused. */
export const BPF_MAXINSNS = 4096;

/** bpf(2) has no wrapper in the C library: its number by `process.arch`, of asm/unistd.h. */
export const BPF_SYSTEM_CALL: Readonly<Partial<Record<string, number>>> = { x64: 321, arm64: 280 };

/** linux/bpf.h, `enum bpf_cmd` */
export const BPF_COMMAND = {
  BPF_MAP_CREATE: 0,
  BPF_MAP_LOOKUP_ELEM: 1,
  BPF_MAP_UPDATE_ELEM: 2,
  BPF_PROG_LOAD: 5,
  BPF_MAP_LOOKUP_AND_DELETE_ELEM: 21,
  BPF_MAP_LOOKUP_BATCH: 24,
} as const;
/** linux/bpf.h */
export const BPF_MAP_TYPE_HASH = 1;
export const BPF_MAP_TYPE_ARRAY = 2;
export const BPF_MAP_TYPE_QUEUE = 22;
export const BPF_PROG_TYPE_SOCKET_FILTER = 1;
export const BPF_ANY = 0;
export const BPF_NOEXIST = 1;

/** `union bpf_attr` of linux/bpf.h, for each command: offsets; what is left out is zero. */
export const BPF_ATTR_MAP_CREATE = {
  size: 28,
  mapType: 0,
  keySize: 4,
  valueSize: 8,
  maxEntries: 12,
  mapFlags: 16,
} as const;
export const BPF_ATTR_ELEMENT = { size: 32, mapFd: 0, key: 8, value: 16, flags: 24 } as const;
export const BPF_ATTR_BATCH = {
  size: 56,
  inBatch: 0,
  outBatch: 8,
  keys: 16,
  values: 24,
  count: 32,
  mapFd: 36,
} as const;
export const BPF_ATTR_PROG_LOAD = {
  size: 48,
  progType: 0,
  instructionCount: 4,
  instructions: 8,
  license: 16,
  logLevel: 24,
  logSize: 28,
  logBuffer: 32,
} as const;

/** `struct __sk_buff` of linux/bpf.h: what a program may read of a packet, 32 bits each. */
export const SK_BUFF = {
  length: 0,
  packetType: 4,
  /** In network byte order. */
  protocol: 16,
  vlanPresent: 20,
  interfaceIndex: 40,
  gsoSegments: 164,
  gsoSize: 176,
} as const;
