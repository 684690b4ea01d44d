/**
 * Rules that the collector hands out to its agents: the files of an allowlist, numbered, and signed with Ed25519
 * (RFC 8032), so that whoever has taken over the collector, but not its key, cannot tell agents what to allow.
 *
 * What is signed is the text that travels; it begins with what it is, so that no other text signed by the same key passes.
 */
import { createPrivateKey, createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import { z } from 'zod';
import { PlasmawatchError } from './errors.ts';
import { parseJson } from './json.ts';

/** Bytes of the signed text: in base64 and with the rest it fits into one message. */
export const MAX_HANDED_RULES_BYTES = 700_000;
const MAX_FILES = 1000;

const base64 = z.string().regex(/^[A-Za-z0-9+/]*={0,2}$/, 'expected base64');
/** Rises with each change; 0 stands for none. */
const version = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);

/** Collector to agent. */
export const handedRulesSchema = z.strictObject({
  type: z.literal('rules'),
  signed: base64.max(Math.ceil(MAX_HANDED_RULES_BYTES / 3) * 4),
  signature: base64.max(88),
});
export type HandedRulesMessage = z.infer<typeof handedRulesSchema>;

/** Agent to collector: hand me rules that are newer than these. */
export const followRulesSchema = z.strictObject({ type: z.literal('follow-rules'), version });
export type FollowRules = z.infer<typeof followRulesSchema>;

/** What an agent runs. */
export const rulesInUseSchema = z.strictObject({
  /** As the collector numbered them; null for those of the agent's own file. */
  version: version.nullable(),
  /** SHA-256 of their content, hex. */
  fingerprint: z.string().regex(/^[0-9a-f]{64}$/, 'expected SHA-256 in hex'),
});
export type RulesInUse = z.infer<typeof rulesInUseSchema>;

const contentSchema = z.strictObject({
  what: z.literal('plasmawatch rules 1'),
  version: version.min(1),
  files: z
    .array(
      z.strictObject({
        name: z.string().regex(/^[^./\\\p{Cc}][^/\\\p{Cc}]{0,199}\.ya?ml$/iu, 'the name of a YAML file'),
        text: z.string(),
      }),
    )
    .min(1)
    .max(MAX_FILES),
});
/** The rules themselves. */
export type HandedRules = Omit<z.infer<typeof contentSchema>, 'what'>;

/**
 * Signs rules for agents.
 * @throws PlasmawatchError PW_RULES when they are too large to be handed out, or a file cannot have its name elsewhere
 */
export function signRules({ version, files }: HandedRules, key: KeyObject): HandedRulesMessage {
  const content = contentSchema.safeParse({ what: 'plasmawatch rules 1', version, files });
  if (!content.success) {
    throw new PlasmawatchError(
      'PW_RULES',
      `cannot hand out these rules: ${content.error.issues[0]?.message}`,
    );
  }
  const text = Buffer.from(JSON.stringify(content.data));
  if (text.length > MAX_HANDED_RULES_BYTES) {
    const limit = `${MAX_HANDED_RULES_BYTES} bytes can be handed out`;
    throw new PlasmawatchError(
      'PW_RULES',
      `cannot hand out these rules: they take ${text.length} bytes, and ${limit}`,
    );
  }
  const signature = sign(null, text, key);
  return { type: 'rules', signed: text.toString('base64'), signature: signature.toString('base64') };
}

export type OpenedRules = { readonly rules: HandedRules } | { readonly problem: string };

/** The rules that were signed with the private half of `key`, or why not: one line that quotes nothing of them. */
export function openRules({ signed, signature }: HandedRulesMessage, key: KeyObject): OpenedRules {
  const text = Buffer.from(signed, 'base64');
  if (!verify(null, text, key, Buffer.from(signature, 'base64'))) {
    return { problem: 'they are not signed with the key of collector.rulesKeyFile' };
  }
  const content = contentSchema.safeParse(parseJson(text.toString('utf8')));
  if (!content.success)
    return { problem: 'they are of another form: bring agent and collector to the same version' };
  const { version, files } = content.data;
  return { rules: { version, files } };
}

/** @throws PlasmawatchError PW_SECRET when it is no private Ed25519 key in PEM */
export function parseSigningKey(pem: string): KeyObject {
  return ed25519Key('key of the rules', () => createPrivateKey(pem), 'openssl genpkey -algorithm ed25519');
}

/** @throws PlasmawatchError PW_SECRET when it is no public Ed25519 key in PEM */
export function parseVerifyingKey(pem: string): KeyObject {
  return ed25519Key('public key of the rules', () => publicKeyOf(pem), 'openssl pkey -in KEY -pubout');
}

/** Node makes a public key of a private one, which has no business on a node. */
function publicKeyOf(pem: string): KeyObject {
  if (pem.includes('PRIVATE KEY')) throw new Error('a private key');
  return createPublicKey(pem);
}

function ed25519Key(name: string, parse: () => KeyObject, command: string): KeyObject {
  try {
    const key = parse();
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch {
    // Said below; the messages of OpenSSL help nobody.
  }
  throw new PlasmawatchError('PW_SECRET', `${name}: expected an Ed25519 key in PEM: make it with ${command}`);
}
