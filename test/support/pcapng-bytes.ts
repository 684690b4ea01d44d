/** Blocks of a pcapng file, little-endian, as hex (draft-ietf-opsawg-pcapng, section 4). */

/** Section header: type, length 28, byte-order magic, version 1.0, section length unknown, length. */
export const SECTION =
  '0a 0d 0d 0a  1c 00 00 00  4d 3c 2b 1a  01 00 00 00  ff ff ff ff ff ff ff ff  1c 00 00 00';

/** Interface description without options: type, length 20, Ethernet, snap length 65535, length. */
export const INTERFACE = '01 00 00 00  14 00 00 00  01 00 00 00  ff ff 00 00  14 00 00 00';

/**
 * Enhanced packet: type, length 40, interface 0, time 0x00060000_00000001 (high word first), 5 bytes captured of 100,
 * the bytes with padding, length.
 */
export const ENHANCED_PACKET =
  '06 00 00 00  28 00 00 00  00 00 00 00  00 00 06 00 01 00 00 00  05 00 00 00  64 00 00 00  aa bb cc dd ee 00 00 00  28 00 00 00';
