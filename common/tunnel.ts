/** The kinds of tunnels that are looked into. */

/**
 * What a connection may have come in on its way past the place of capture.
 * - `gre` has the Ethernet frames of NVGRE too; `erspan` is a switch's mirror in GRE, `pptp` PPP in GRE
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
] as const;
export type TunnelType = (typeof TUNNEL_TYPES)[number];
