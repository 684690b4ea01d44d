import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { VERDICT_REASONS } from '../../common/event.ts';
import { packagePath } from '../../common/package.ts';
import { KNOWN_SERVICES, rulesSchema } from '../../rules/schema.ts';

const page = readFileSync(packagePath('docs/rules.md'), 'utf8');

describe('docs/rules.md', () => {
  it('has a row for every known service, source of groups, and reason of a verdict', () => {
    const sources = Object.keys(rulesSchema.shape.groups.unwrap().valueType.shape);
    const reasons = VERDICT_REASONS.filter((reason) => reason !== 'allowed');
    for (const word of [...KNOWN_SERVICES.keys(), ...sources, ...reasons]) {
      expect(page).toMatch(new RegExp(`^\\| \`${word}\` +\\|`, 'm'));
    }
  });

  it('speaks of every section and of every field of a rule', () => {
    const fields = Object.keys(rulesSchema.shape.allow.unwrap().element.shape);
    for (const word of [...Object.keys(rulesSchema.shape), ...fields]) expect(page).toContain(word);
  });
});
