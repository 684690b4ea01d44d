/** One set of paths: units, shipped settings, pages, messages and defaults agree on it. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { agentConfigSchema } from '../../agent/config.ts';
import { collectorConfigSchema } from '../../collector/config.ts';
import { loadYamlFile } from '../../common/config-file.ts';
import { packagePath } from '../../common/package.ts';
import { PATHS } from '../../common/paths.ts';

const files = execFileSync('git', ['ls-files', '*.md', '*.ts', '*.yaml', '*.yml', '*.service', '*.sh'], {
  cwd: packagePath('.'),
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file !== '' && !file.startsWith('test/'));
const textOf = (file: string): string => readFileSync(packagePath(file), 'utf8');

/** Every path of an installation in the files, with the files that name it. */
function named(folder: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const file of files) {
    for (const [path] of textOf(file).matchAll(new RegExp(`${folder}/[\\w./*-]*\\w`, 'g')))
      found.set(path, file);
  }
  return found;
}

describe('the paths of an installation', () => {
  it('have secrets in the folder of the service that reads them, and nothing else there', () => {
    const paths = [...named('/etc/plasmawatch')];
    expect(paths.length).toBeGreaterThan(20);
    const misplaced = paths.filter(([path]) => {
      const isSecret = /(?:token|key|url|secret|password|slack-ml)$/.test(path);
      const isInFolder = /^\/etc\/plasmawatch\/(?:agent|collector)\/./.test(path);
      return isSecret !== isInFolder;
    });
    // deploy/compose and deploy/kubernetes mount theirs elsewhere.
    expect(misplaced).toEqual([]);
  });

  it('have all state below the folder of its service', () => {
    const paths = [...named('/var/lib/plasmawatch').keys()];
    expect(
      paths.filter((path) => !/^\/var\/lib\/plasmawatch\/(?:agent|collector)\b(?!\.)/.test(path)),
    ).toEqual([]);
  });

  it('are not those of credentials, which do not change while the unit runs', () => {
    expect(files.filter((file) => /\/run\/credentials|LoadCredential=/.test(textOf(file)))).toEqual([]);
  });

  it.each([
    ['agent', PATHS.agentConfig, PATHS.agentState],
    ['collector', PATHS.collectorConfig, PATHS.collectorState],
  ])('are the same in the unit of the %s', (service, config, state) => {
    const unit = textOf(`deploy/plasmawatch-${service}.service`);
    expect(unit).toContain(`plasmawatch ${service} --config ${config} `);
    expect(unit).toContain(`config check --${service} ${config}\n`);
    expect(unit).toContain(`StateDirectory=${state.replace('/var/lib/', '')}\n`);
  });

  it('are the same in the shipped settings and in the defaults', async () => {
    const agent = await loadYamlFile(agentConfigSchema, packagePath('deploy/agent.yaml'));
    const collector = await loadYamlFile(collectorConfigSchema, packagePath('deploy/collector.yaml'));
    expect(agent.value?.spool.path).toBe(PATHS.spool);
    expect(agent.value?.stateFolder).toBe(PATHS.agentState);
    expect(collector.value?.store.path).toBe(PATHS.store);
    const defaults = agentConfigSchema.parse({ collector: { url: 'ws://127.0.0.1:9440' } });
    expect([defaults.spool.path, collectorConfigSchema.parse({}).store.path]).toEqual([
      PATHS.spool,
      PATHS.store,
    ]);
  });

  it('are listed for operators', () => {
    const page = textOf('docs/operating.md');
    const table = page.slice(page.indexOf('## Where everything is'));
    for (const path of [PATHS.agentConfig, PATHS.collectorConfig, PATHS.agentState, PATHS.collectorState]) {
      expect(table).toContain(`\`${path}`);
    }
  });
});
