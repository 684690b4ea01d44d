/** Writes the files that are made from the schemas: `npm run generate`. A test fails when they are not current. */
import { writeFileSync } from 'node:fs';
import { packagePath } from '../common/package.ts';
import { rulesJsonSchema } from '../rules/json-schema.ts';
import { configPage } from './config-page.ts';

writeFileSync(packagePath('docs/config.md'), configPage());
writeFileSync(packagePath('rules/allowlist.schema.json'), rulesJsonSchema());
