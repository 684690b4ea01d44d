/** Writes the manual pages to `dist/man`: a step of the build, after the program. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { packagePath } from '../common/package.ts';
import { manPages } from './man-pages.ts';

mkdirSync(packagePath('dist/man'), { recursive: true });
void manPages().then((pages) => {
  for (const [file, text] of pages) writeFileSync(packagePath(`dist/man/${file}`), text);
});
