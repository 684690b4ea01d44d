/** What an IP header says of the header behind it (IANA, protocol numbers). */
export const PROTOCOL_TCP = 6;
