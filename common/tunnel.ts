/** The kinds of tunnels that are looked into, and the ones whose inside is taken for plain traffic. */
import type { Prefix } from './address.ts';

/**
 * What a connection may have come in on its way past the place of capture.
 * - `gre` has the Ethernet frames of NVGRE too; `erspan` is a switch's mirror in GRE, `pptp` PPP in GRE, `eoip` MikroTik's
 *   Ethernet in GRE
 * - `l2tp` is version 2 or 3, over UDP or IP; `tzsp` a mirror of a switch or of an access point
 * - `ipip`, `6in4`, `4in6`, `6in6`: an IP packet in another
 */
export const TUNNEL_TYPES = [
  'vxlan',
  'geneve',
  'gre',
  'erspan',
  'pptp',
  'ipip',
  '6in4',
  '4in6',
  '6in6',
  'teredo',
  'ayiya',
  'gtp',
  'mpls',
  'etherip',
  'l2tp',
  'tzsp',
  'eoip',
] as const;
export type TunnelType = (typeof TUNNEL_TYPES)[number];

/** Stands for a tunnel without a number. */
export const NO_TUNNEL_ID = -1;

/** A tunnel that ends where it is meant to: what it carries counts as if it came in none. */
export interface TrustedTunnel {
  readonly type: TunnelType;
  /** Its number (VNI); undefined for all. */
  readonly id: number | undefined;
  /** Both outer ends lie in one of these. */
  readonly ends: readonly Prefix[];
}
