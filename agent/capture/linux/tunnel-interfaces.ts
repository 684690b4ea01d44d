/**
 * The interfaces of this network namespace that end tunnels, asked of the kernel over netlink (rtnetlink(7),
 * RTM_GETLINK; linux/if_link.h and linux/if_tunnel.h). No privilege is needed. That is what `ip -d link` shows.
 */
import { IPV4_MAPPED_WORD, type Address } from '../../../common/address.ts';
import type { TunnelType } from '../../../common/tunnel.ts';
import {
  AF_NETLINK,
  HOST_IS_LITTLE_ENDIAN,
  MSG_DONTWAIT,
  NETLINK_ROUTE,
  NLMSGHDR,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  RTM_GETLINK,
  RTM_NEWLINK,
  SOCK_CLOEXEC,
  SOCK_RAW,
} from './constants.ts';
import type { Libc } from './libc.ts';

/** An interface of this machine that ends a tunnel. */
export interface TunnelInterface {
  /** The kinds of tunnel that it unwraps. */
  readonly types: readonly TunnelType[];
  /** Undefined where it takes all numbers, or its kind has none. */
  readonly id: number | undefined;
  /** The outer addresses; undefined where it takes any: at this side, an address of this machine. */
  readonly local: Address | undefined;
  readonly remote: Address | undefined;
}

const DEVICE = 'rtnetlink';
/** `struct ifinfomsg` of linux/rtnetlink.h. */
const IFINFOMSG = { size: 16, flags: 8 } as const;
const IFF_UP = 1;
/** linux/if_link.h */
const IFLA_LINKINFO = 18;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
/** Kernels send at most this at a time (NLMSG_GOODSIZE and what a dump may take). */
const ANSWER_BYTES = 65_536;
/** Answers to one question that are read at most: some ten thousand interfaces. */
const MAX_ANSWERS = 4096;
const ATTRIBUTE_HEADER = 4;
const ATTRIBUTE_TYPE_MASK = 0x3fff;

/** What the attributes of a kind of interface are called by; each is left out where the kind has none. */
interface Kind {
  readonly types: readonly TunnelType[];
  readonly id?: number;
  readonly local: readonly number[];
  readonly remote: readonly number[];
  /** The interface takes every tunnel of its kind; whoever uses it looks at the number. */
  readonly any: number;
}

/** IFLA_GRE_LOCAL, IFLA_GRE_REMOTE, IFLA_GRE_COLLECT_METADATA */
const GRE = { local: [6], remote: [7], any: 18 };
/** IFLA_IPTUN_LOCAL, IFLA_IPTUN_REMOTE, IFLA_IPTUN_COLLECT_METADATA */
const IP_TUNNEL = { local: [2], remote: [3], any: 19 };

/** No attribute has this number: the kind does not tell it here. */
const NOT_TOLD = -1;

const KINDS: Readonly<Record<string, Kind>> = {
  // IFLA_VXLAN_ID, _LOCAL, _LOCAL6, _GROUP, _GROUP6, _COLLECT_METADATA. A group of many is no address of a peer.
  vxlan: { types: ['vxlan'], id: 1, local: [4, 17], remote: [], any: 25 },
  // IFLA_GENEVE_ID, _REMOTE, _REMOTE6, _COLLECT_METADATA
  geneve: { types: ['geneve'], id: 1, local: [], remote: [2, 7], any: 6 },
  gre: { types: ['gre'], ...GRE },
  gretap: { types: ['gre'], ...GRE },
  ip6gre: { types: ['gre'], ...GRE },
  ip6gretap: { types: ['gre'], ...GRE },
  erspan: { types: ['erspan'], ...GRE },
  ip6erspan: { types: ['erspan'], ...GRE },
  ipip: { types: ['ipip'], ...IP_TUNNEL },
  sit: { types: ['6in4', 'ipip'], ...IP_TUNNEL },
  // Its ends and its session are listed by another family of netlink only (l2tp of generic netlink).
  l2tpeth: { types: ['l2tp'], local: [], remote: [], any: NOT_TOLD },
  ip6tnl: { types: ['6in6', '4in6'], ...IP_TUNNEL },
};

/** The tunnels that end here now. @throws PlasmawatchError PW_SYSTEM_CALL where the kernel does not answer */
export function readTunnelInterfaces(libc: Libc): TunnelInterface[] {
  const fd = libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE, DEVICE);
  try {
    libc.send(fd, request(), DEVICE);
    const found: TunnelInterface[] = [];
    const bytes = new Uint8Array(ANSWER_BYTES);
    for (let answers = 0; answers < MAX_ANSWERS; answers++) {
      const length = Math.min(libc.receive(fd, bytes, MSG_DONTWAIT, DEVICE), ANSWER_BYTES);
      if (!parseLinks(new DataView(bytes.buffer, 0, length), found)) break;
    }
    return found;
  } finally {
    libc.close(fd);
  }
}

function request(): Uint8Array {
  const bytes = new Uint8Array(NLMSGHDR.size + IFINFOMSG.size);
  const view = new DataView(bytes.buffer);
  view.setUint32(NLMSGHDR.length, bytes.length, HOST_IS_LITTLE_ENDIAN);
  view.setUint16(NLMSGHDR.type, RTM_GETLINK, HOST_IS_LITTLE_ENDIAN);
  view.setUint16(NLMSGHDR.flags, NLM_F_REQUEST | NLM_F_DUMP, HOST_IS_LITTLE_ENDIAN);
  return bytes;
}

/**
 * Adds the interfaces of one answer, which may hold several messages. Returns whether more answers follow.
 *
 * @param answer as the kernel sends it, in the machine's byte order
 */
export function parseLinks(answer: DataView, found: TunnelInterface[]): boolean {
  let offset = 0;
  while (offset + NLMSGHDR.size <= answer.byteLength) {
    const length = answer.getUint32(offset + NLMSGHDR.length, HOST_IS_LITTLE_ENDIAN);
    const type = answer.getUint16(offset + NLMSGHDR.type, HOST_IS_LITTLE_ENDIAN);
    if (type === NLMSG_DONE || type === NLMSG_ERROR) return false;
    if (length < NLMSGHDR.size || offset + length > answer.byteLength) return false;
    if (type === RTM_NEWLINK) {
      const link = parseLink(new DataView(answer.buffer, answer.byteOffset + offset, length));
      if (link !== undefined) found.push(link);
    }
    offset += align(length);
  }
  return true;
}

function parseLink(message: DataView): TunnelInterface | undefined {
  if (message.byteLength < NLMSGHDR.size + IFINFOMSG.size) return undefined;
  if ((message.getUint32(NLMSGHDR.size + IFINFOMSG.flags, HOST_IS_LITTLE_ENDIAN) & IFF_UP) === 0)
    return undefined;
  const information = attributesOf(message, NLMSGHDR.size + IFINFOMSG.size).get(IFLA_LINKINFO);
  if (information === undefined) return undefined;
  const parts = attributesOf(information, 0);
  const kind = KINDS[textOf(parts.get(IFLA_INFO_KIND))];
  if (kind === undefined) return undefined;
  const data = parts.get(IFLA_INFO_DATA);
  const attributes = data === undefined ? new Map<number, DataView>() : attributesOf(data, 0);
  const isAny = isSet(attributes.get(kind.any));
  return {
    types: kind.types,
    id: isAny || kind.id === undefined ? undefined : numberOf(attributes.get(kind.id)),
    local: firstAddress(attributes, kind.local),
    remote: isAny ? undefined : firstAddress(attributes, kind.remote),
  };
}

function attributesOf(view: DataView, start: number): Map<number, DataView> {
  const attributes = new Map<number, DataView>();
  let offset = start;
  while (offset + ATTRIBUTE_HEADER <= view.byteLength) {
    const length = view.getUint16(offset, HOST_IS_LITTLE_ENDIAN);
    if (length < ATTRIBUTE_HEADER || offset + length > view.byteLength) break;
    const type = view.getUint16(offset + 2, HOST_IS_LITTLE_ENDIAN) & ATTRIBUTE_TYPE_MASK;
    const start = view.byteOffset + offset + ATTRIBUTE_HEADER;
    attributes.set(type, new DataView(view.buffer, start, length - ATTRIBUTE_HEADER));
    offset += align(length);
  }
  return attributes;
}

/** Messages and attributes begin at multiples of four bytes. */
function align(length: number): number {
  return (length + 3) & ~3;
}

function textOf(view: DataView | undefined): string {
  if (view === undefined) return '';
  return Buffer.from(view.buffer, view.byteOffset, view.byteLength).toString('latin1').replace(/\0.*$/s, '');
}

/** A flag is set by being there, a number of one byte by not being 0. */
function isSet(view: DataView | undefined): boolean {
  return view !== undefined && (view.byteLength === 0 || view.getUint8(0) !== 0);
}

function numberOf(view: DataView | undefined): number | undefined {
  return view !== undefined && view.byteLength >= 4 ? view.getUint32(0, HOST_IS_LITTLE_ENDIAN) : undefined;
}

/** The first address that is none of all zeros. */
function firstAddress(
  attributes: ReadonlyMap<number, DataView>,
  types: readonly number[],
): Address | undefined {
  for (const type of types) {
    const view = attributes.get(type);
    if (view === undefined) continue;
    const words = Array.from({ length: Math.floor(view.byteLength / 4) }, (_, index) =>
      view.getInt32(index * 4),
    );
    if (words.every((word) => word === 0)) continue;
    const [w0 = 0, w1 = 0, w2 = 0, w3 = 0] = words.length === 1 ? [0, 0, IPV4_MAPPED_WORD, words[0]] : words;
    return { w0, w1, w2, w3 };
  }
  return undefined;
}
