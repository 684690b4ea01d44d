/**
 * Where the object-manager port that an agent watches on its node is from. Heartbeats carry the position in this list: a new
 * entry goes to the end, and a collector shows a number that it does not know as `unknown`.
 */
export const PORT_SOURCES = [
  /** Nobody has confirmed it: Ray's default, or the ports of other nodes. */
  'guess',
  /** A raylet that is proven listens there. */
  'raylet',
  /** The head's dashboard lists this node with it, and somebody listens there. */
  'dashboard',
  /** Another agent has read it at the head, and somebody listens there. */
  'shared view',
  /** The pods state it. */
  'pod',
  /** The operator wrote it, in the rules or in a list of members. */
  'rules',
  /** The settings say that no raylet runs here. */
  'not expected',
] as const;

export type PortSource = (typeof PORT_SOURCES)[number];
