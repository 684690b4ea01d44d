import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { agentConfigSchema } from '../../agent/config.ts';
import { rulesSchema } from '../../rules/schema.ts';

const FILE = resolve(import.meta.dirname, '../../deploy/kubernetes/agent.yaml');

const objectSchema = z.looseObject({
  kind: z.string(),
  metadata: z.looseObject({ name: z.string(), namespace: z.string().optional() }),
});

async function load(): Promise<Map<string, z.infer<typeof objectSchema>>> {
  const documents = parseAllDocuments(await readFile(FILE, 'utf8'));
  const objects = documents.map((document) => objectSchema.parse(document.toJS()));
  return new Map(objects.map((object) => [object.kind, object]));
}

describe('deploy/kubernetes/agent.yaml', () => {
  it('holds settings and rules that are accepted, for the namespace to which the role is bound', async () => {
    const objects = await load();
    const { data } = z.object({ data: z.record(z.string(), z.string()) }).parse(objects.get('ConfigMap'));
    agentConfigSchema.parse(parse(data['agent.yaml'] ?? ''));
    const rules = rulesSchema.parse(parse(data['rules.yaml'] ?? ''));
    const namespace = objects.get('RoleBinding')?.metadata.namespace;
    expect(rules.groups?.['cluster']?.kubernetes?.namespace).toBe(namespace);
  });

  it('asks for no more than to look at pods, and for two capabilities', async () => {
    const objects = await load();
    expect(objects.get('ClusterRole')).toMatchObject({
      rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get', 'list', 'watch'] }],
    });
    const text = await readFile(FILE, 'utf8');
    expect(text).toContain('drop: [ALL]');
    expect(text).toContain('add: [NET_RAW, BPF]');
    expect(text).not.toContain('privileged: true');
  });
});
