/** The JSON Schema of a rule file. */
import { describeSchema } from '../common/config-file.ts';
import { rulesSchema } from './schema.ts';

/** The text of `allowlist.schema.json`, generated from the schema that checks the rules. */
export function rulesJsonSchema(): string {
  return `${JSON.stringify(describeSchema(rulesSchema, 'plasmawatch allowlist'), null, 2)}\n`;
}
