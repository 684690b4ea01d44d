/** Whether somebody confirms the object-manager port of this node. */
import type { MembershipDependencies } from '../../agent/membership/from-rules.ts';
import type { Membership } from '../../agent/membership/membership.ts';
import { findOwnPort, isConfirmed, portInWords } from '../../agent/membership/own-port.ts';
import type { ServiceLocator } from '../../agent/membership/services.ts';
import { OBJECT_MANAGER } from '../../rules/schema.ts';
import type { Ruleset } from '../../rules/match.ts';
import { check, PORT_CHECK, PORT_FIX, type Check } from './check.ts';

interface PortSearch {
  readonly ruleset: Pick<Ruleset, 'services'>;
  readonly membership: Pick<Membership, 'members'>;
  readonly locator: Pick<ServiceLocator, 'commonPorts'>;
  readonly dependencies: Pick<MembershipDependencies, 'findRaylets' | 'localAddresses' | 'listeningUsers'>;
  /** Whether a raylet runs on this machine. */
  readonly isRayExpected: boolean;
}

/** One finding: a guess is none that is in order, unless no raylet is expected here. */
export async function examinePort({
  ruleset,
  membership,
  locator,
  dependencies,
  isRayExpected,
}: PortSearch): Promise<Check> {
  const { findRaylets, localAddresses = () => [], listeningUsers } = dependencies;
  const found = await findOwnPort({
    services: ruleset.services,
    members: membership.members(),
    raylets: await findRaylets().catch(() => undefined),
    localAddresses: localAddresses(),
    isListenedAt: listeningUsers && (async (address, port) => (await listeningUsers(address, port)).size > 0),
    guessed: locator.commonPorts(OBJECT_MANAGER).map(({ first }) => first),
  });
  const port = isConfirmed(found) || isRayExpected ? found : { ...found, source: 'not expected' as const };
  return check(PORT_CHECK, isConfirmed(port), portInWords(port), PORT_FIX);
}
