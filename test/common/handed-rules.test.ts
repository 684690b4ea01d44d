import { generateKeyPairSync, sign } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  handedRulesSchema,
  MAX_HANDED_RULES_BYTES,
  openRules,
  parseSigningKey,
  parseVerifyingKey,
  signRules,
} from '../../common/handed-rules.ts';
import { MAX_MESSAGE_BYTES } from '../../common/protocol.ts';
import { makeRulesKeys, rulesText } from '../support/rules-keys.ts';

const keys = makeRulesKeys();
const RULES = { version: 7, files: [{ name: 'rules.yaml', text: rulesText('10.0.0.1') }] };

/** Signs any text with the right key. */
function signedText(text: string) {
  const bytes = Buffer.from(text);
  const signature = sign(null, bytes, keys.privateKey);
  return {
    type: 'rules',
    signed: bytes.toString('base64'),
    signature: signature.toString('base64'),
  } as const;
}

describe('rules that are handed out', () => {
  it('are opened with the public half of the key', () => {
    expect(openRules(signRules(RULES, keys.privateKey), keys.publicKey)).toEqual({ rules: RULES });
  });

  it.each(['10-a.yaml', '20-b.YML', 'c.YAML', 'ü_1.Yaml'])('may be in a file %s, as in a folder', (name) => {
    const rules = { version: 7, files: [{ name, text: 'version: 1' }] };
    expect(openRules(signRules(rules, keys.privateKey), keys.publicKey)).toEqual({ rules });
  });

  it('are refused when they are changed, signed by somebody else, or not at all', () => {
    const problem = 'they are not signed with the key of collector.rulesKeyFile';
    const message = signRules(RULES, keys.privateKey);
    const changed = Buffer.from(message.signed, 'base64');
    changed[changed.length - 5] = 0x39;
    expect(openRules({ ...message, signed: changed.toString('base64') }, keys.publicKey)).toEqual({
      problem,
    });
    expect(openRules(message, makeRulesKeys().publicKey)).toEqual({ problem });
    expect(openRules({ ...message, signature: '' }, keys.publicKey)).toEqual({ problem });
  });

  it.each([
    ['another text of the same key', JSON.stringify({ what: 'a will', version: 7, files: [] })],
    ['no version', JSON.stringify({ what: 'plasmawatch rules 1', version: 0, files: RULES.files })],
    ['no files', JSON.stringify({ what: 'plasmawatch rules 1', version: 7, files: [] })],
    [
      'a file elsewhere',
      JSON.stringify({ what: 'plasmawatch rules 1', version: 7, files: [{ name: '../x.yaml', text: '' }] }),
    ],
    [
      'a hidden file',
      JSON.stringify({ what: 'plasmawatch rules 1', version: 7, files: [{ name: '.x.yaml', text: '' }] }),
    ],
    ['no JSON', 'rules'],
  ])('are refused when they are of another form: %s', (_what, text) => {
    expect(openRules(signedText(text), keys.publicKey)).toMatchObject({
      problem: expect.stringContaining('another form') as string,
    });
  });

  it('fit into a message, or are not signed', () => {
    const files = (length: number) => [{ name: 'rules.yaml', text: 'x'.repeat(length) }];
    const largest = signRules({ version: 7, files: files(MAX_HANDED_RULES_BYTES - 100) }, keys.privateKey);
    expect(handedRulesSchema.safeParse(largest).success).toBe(true);
    expect(JSON.stringify(largest).length).toBeLessThan(MAX_MESSAGE_BYTES);
    expect(() => signRules({ version: 7, files: files(MAX_HANDED_RULES_BYTES) }, keys.privateKey)).toThrow(
      /^cannot hand out these rules: they take \d+ bytes, and 700000 bytes can be handed out$/,
    );
  });
});

describe('the keys', () => {
  it('are Ed25519 in PEM', () => {
    expect(parseSigningKey(keys.privatePem).asymmetricKeyType).toBe('ed25519');
    expect(parseVerifyingKey(keys.publicPem).asymmetricKeyType).toBe('ed25519');
  });

  it('are refused when they are of another kind, and never shown', () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    expect(() => parseSigningKey(privateKey.export({ type: 'pkcs8', format: 'pem' }).toString())).toThrow(
      'key of the rules: expected an Ed25519 key in PEM: make it with openssl genpkey -algorithm ed25519',
    );
    expect(() => parseVerifyingKey(publicKey.export({ type: 'spki', format: 'pem' }).toString())).toThrow(
      'public key of the rules: expected an Ed25519 key in PEM',
    );
    expect(() => parseVerifyingKey(keys.privatePem)).toThrow('public key of the rules: expected');
    expect(() => parseSigningKey('SECRET')).not.toThrow('SECRET');
  });
});
