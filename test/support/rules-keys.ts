/** Keys that sign rules, as an operator makes them. */
import { generateKeyPairSync } from 'node:crypto';

/** An Ed25519 pair, as keys and as PEM. */
export function makeRulesKeys() {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    privateKey,
    publicKey,
    privatePem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    publicPem: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
  };
}

/** An allowlist of one rule for these hosts. */
export function rulesText(...hosts: readonly string[]): string {
  return JSON.stringify({
    version: 1,
    services: { 'object-manager': 43800 },
    groups: { cluster: { hosts } },
    allow: [{ name: 'nodes exchange objects', from: 'cluster', to: 'object-manager' }],
  });
}
