/**
 * Writes the JSON Schema of the rules beside the sources, for editors: `node dist/rules/generate-schema.js` after a
 * build.
 */
import { writeFileSync } from 'node:fs';
import { rulesJsonSchema } from './json-schema.ts';

writeFileSync('rules/allowlist.schema.json', rulesJsonSchema());
