/** Parts of /proc/net/tcp6 as Linux prints it. */

export const HEADING =
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';
export const TAIL = '00000000:00000000 00:00000000 00000000     0        0';
/** ::ffff:10.77.0.11 and ::ffff:10.77.0.12, as a little-endian machine prints them. */
export const OWN = '0000000000000000FFFF00000B004D0A';
export const PEER = '0000000000000000FFFF00000C004D0A';
export const ANY = '00000000000000000000000000000000';
