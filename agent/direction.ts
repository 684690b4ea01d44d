/**
 * Which end of a connection was called, as it is judged. A handshake can be forged and packets are missed, so this node's
 * sockets are asked, too. Where they contradict a handshake, or nothing is known, the end with the stricter verdict is
 * the responder.
 */
import type { PortSet } from './capture/source.ts';
import type { Flow, FlowSide } from './flow/flow.ts';
import type { SocketRoles } from './process/socket-roles.ts';
import { copyAddress, type Address } from '../common/address.ts';
import { OBJECT_MANAGER } from '../rules/schema.ts';

interface Ends {
  readonly initiator: Address;
  readonly responder: Address & { readonly port: number };
}

interface DirectionOptions {
  /** Undefined in a replay, whose sockets are gone. */
  readonly socketRoles: Pick<SocketRoles, 'of'> | undefined;
  /** The ports of all watched services. */
  readonly watchedPorts: () => PortSet;
  /** The watched service at an endpoint. */
  readonly serviceAt: (address: Address, port: number) => string | undefined;
  /** Whether the rules allow a connection to a watched service. */
  readonly isAllowed: (ends: Ends, timeMs: number) => boolean;
  readonly isMember: (address: Address, timeMs: number) => boolean;
}

/** The end that was called, as far as this node's sockets tell. */
interface CalledEnd {
  readonly end: 'initiator' | 'responder' | undefined;
  /** Whether somebody listens there. */
  readonly isListening: boolean;
}

const UNKNOWN: CalledEnd = { end: undefined, isListening: false };

export class Direction {
  readonly #options: DirectionOptions;

  constructor(options: DirectionOptions) {
    this.#options = options;
  }

  /**
   * Makes the end the responder at which the flow is to be judged.
   *
   * @param timeMs of the packet that it is judged by
   */
  orient(flow: Flow<unknown>, timeMs: number): void {
    const { isDirectionProven } = flow;
    if (isDirectionProven && !this.#isWatched(flow.initiator)) return;
    const { end, isListening } = this.#calledEnd(flow);
    if (isDirectionProven && end !== 'initiator') return;
    if (isDirectionProven || end === undefined) {
      if (this.#isStricterTurned(flow, timeMs)) flow.turn();
      return;
    }
    if (end === 'initiator') flow.turn();
    // Whoever listens at the port that it calls from (SO_REUSEPORT) looks as if it was called. A member's service does not.
    const isCallOfMember = isListening && this.#options.isMember(flow.initiator, timeMs);
    if (isCallOfMember && this.#isStricterTurned(flow, timeMs)) flow.turn();
  }

  #isStricterTurned({ initiator, responder }: Flow<unknown>, timeMs: number): boolean {
    const turned = this.#strictnessOf({ initiator: responder, responder: initiator }, timeMs);
    return turned > 0 && turned > this.#strictnessOf({ initiator, responder }, timeMs);
  }

  /** Whether a service is watched at an end; mostly its port says that none is. */
  #isWatched(end: FlowSide): boolean {
    const { watchedPorts, serviceAt } = this.#options;
    return watchedPorts().has(end.port) && serviceAt(end, end.port) !== undefined;
  }

  #calledEnd({ initiator, responder, tunnelKey }: Flow<unknown>): CalledEnd {
    const { socketRoles } = this.#options;
    // What a tunnel carries is no socket's of this node.
    if (socketRoles === undefined || tunnelKey !== 0) return UNKNOWN;
    const roleOf = (local: FlowSide, remote: FlowSide) =>
      socketRoles.of({
        local: copyAddress(local),
        localPort: local.port,
        remote: copyAddress(remote),
        remotePort: remote.port,
      });
    const asResponder = roleOf(responder, initiator);
    if (asResponder === 'server') return { end: 'responder', isListening: true };
    const asInitiator = roleOf(initiator, responder);
    if (asInitiator === 'server') return { end: 'initiator', isListening: true };
    if (asInitiator === 'client') return { end: 'responder', isListening: false };
    return asResponder === 'client' ? { end: 'initiator', isListening: false } : UNKNOWN;
  }

  /**
   * 3 for a connection that is not allowed, 2 for one whose program is looked for, 1 for another that is allowed, 0 for
   * one that nobody watches.
   */
  #strictnessOf(ends: Ends, timeMs: number): number {
    const { serviceAt, isAllowed } = this.#options;
    const service = serviceAt(ends.responder, ends.responder.port);
    if (service === undefined) return 0;
    if (!isAllowed(ends, timeMs)) return 3;
    return service === OBJECT_MANAGER ? 2 : 1;
  }
}
