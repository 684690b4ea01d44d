import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../common/clock.ts';
import { rulesJsonSchema } from '../../rules/json-schema.ts';
import { loadRules } from '../../rules/load.ts';

describe('the published JSON Schema', () => {
  it('is the one that the schema generates', () => {
    expect(readFileSync('rules/allowlist.schema.json', 'utf8')).toBe(rulesJsonSchema());
  });

  it('describes every key', () => {
    const undescribed: string[] = [];
    const visit = (node: unknown, path: string): void => {
      if (typeof node !== 'object' || node === null) return;
      const { properties, ...rest } = node as { properties?: Record<string, { description?: string }> };
      for (const [key, property] of Object.entries(properties ?? {})) {
        if (property.description === undefined) undescribed.push(`${path}/${key}`);
        visit(property, `${path}/${key}`);
      }
      for (const child of Object.values(rest)) visit(child, path);
    };
    visit(JSON.parse(rulesJsonSchema()), '');
    expect(undescribed).toEqual([]);
  });
});

describe('the shipped rule files', () => {
  const shipped = readdirSync('rules').filter((name) => name.endsWith('.yaml'));

  it.each(shipped.map((name) => `rules/${name}`))('%s passes without a warning', async (path) => {
    const { ruleset, diagnostics } = await loadRules(path, { clock: systemClock });
    expect(diagnostics).toEqual([]);
    expect(ruleset?.rules.length).toBeGreaterThan(0);
  });

  it('object-manager.yaml lets the cluster exchange objects and nothing else', async () => {
    const { ruleset } = await loadRules('rules/object-manager.yaml', { clock: systemClock });
    expect(ruleset?.rules).toMatchObject([{ from: ['cluster'], to: ['object-manager'], untilMs: Infinity }]);
    expect(ruleset?.groups).toEqual(new Map([['cluster', { ray: 'auto' }]]));
  });
});
