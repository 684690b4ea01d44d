/** The provider of groups that stand in the rules themselves: address ranges. */
import { parsePrefix, type Prefix } from '../../common/address.ts';
import type { Provider } from './provider.ts';

/** A provider of fixed ranges; `cidr` was checked by the rules' schema. */
export function createCidrProvider(cidr: readonly string[]): Provider {
  const prefixes = cidr.map(parsePrefix).filter((prefix): prefix is Prefix => prefix !== undefined);
  return {
    name: 'cidr',
    given: 'in the rules',
    start(publish) {
      publish({ members: [], prefixes });
      return Promise.resolve();
    },
    stop: () => Promise.resolve(),
  };
}
