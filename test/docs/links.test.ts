import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packagePath } from '../../common/package.ts';

const PAGES = [
  'README.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  ...readdirSync(packagePath('docs')).map((name) => `docs/${name}`),
];
const CHAPTERS = ['install', 'alerts', 'monitoring', 'troubleshooting'];

function textOf(path: string): string {
  return readFileSync(packagePath(path), 'utf8');
}

/** The titles of a page's sections, without what only looks like one in a fenced block. */
function sectionsOf(path: string): string[] {
  const text = textOf(path).replaceAll(/^ *```.*?^ *```$/gms, '');
  return Array.from(text.matchAll(/^#+ (.+)$/gm), ([, title = '']) => title);
}

/** What a title is called in a link: as on GitHub. */
function anchorOf(title: string): string {
  return title
    .toLowerCase()
    .replaceAll(/[^\w\- ]/g, '')
    .replaceAll(' ', '-');
}

/** Where the links of a page lead, those to other sites left out: a path from the page, an anchor, or both. */
function linksOf(path: string): string[] {
  return Array.from(textOf(path).matchAll(/\]\(([^)\s]+)\)/g), ([, link = '']) => link).filter(
    (link) => !/^\w+:/.test(link),
  );
}

function leadsNowhere(page: string, link: string): boolean {
  const [path = '', anchor] = link.split('#');
  const target = path === '' ? page : join(dirname(page), path);
  if (!existsSync(packagePath(target))) return true;
  return anchor !== undefined && !sectionsOf(target).map(anchorOf).includes(anchor);
}

describe('the pages', () => {
  it.each(PAGES)('lead somewhere with every link of %s', (page) => {
    expect(linksOf(page).filter((link) => leadsNowhere(page, link))).toEqual([]);
  });

  it("of operators are listed in the first of them, with every section in its page's order", () => {
    const sections = CHAPTERS.flatMap((name) =>
      sectionsOf(`docs/${name}.md`)
        .slice(1)
        .map((title) => `${name}.md#${anchorOf(title)}`),
    );
    expect(linksOf('docs/operating.md').filter((link) => link.includes('#'))).toEqual(sections);
  });
});

describe('what settings, units and messages say of a page', () => {
  const files = ['agent', 'cli', 'collector', 'common', 'deploy', 'rules'].flatMap((folder) =>
    readdirSync(packagePath(folder), { recursive: true, encoding: 'utf8' })
      .map((name) => join(folder, name))
      .filter((path) => /\.(ts|yaml|service)$/.test(path)),
  );
  const references = files.flatMap((path) =>
    Array.from(
      textOf(path).matchAll(/(docs\/[\w-]+\.md), "([^"]+)"(?: and "([^"]+)")?/g),
      ([, page = '', ...titles]) => ({ path, page, titles: titles.filter((title) => title !== undefined) }),
    ),
  );

  it('is of a section that is there', () => {
    expect(references.length).toBeGreaterThan(5);
    const missing = references.flatMap(({ path, page, titles }) => {
      const sections = sectionsOf(page);
      return titles.filter((title) => !sections.includes(title)).map((title) => `${path}: ${page}, ${title}`);
    });
    expect(missing).toEqual([]);
  });
});
