import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HttpReceiver } from '../support/http-receiver.ts';
import { runCli } from '../support/run-cli.ts';

const SECRET_PATH = '/services/T0SECRET/B0SECRET/TokenOfTheChannel';

describe('plasmawatch notify test', () => {
  let folder: string;
  let config: string;
  let receiver: HttpReceiver;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-notify-'));
    config = join(folder, 'collector.yaml');
    receiver = await HttpReceiver.open();
    await writeFile(
      config,
      `receivers:
  - { name: ops, type: slack, url: "${receiver.url(SECRET_PATH)}" }
  - { name: journal, type: file, path: "${join(folder, 'alerts.jsonl')}", format: ecs }
  - { name: out, type: stdout }
  - { name: broken, type: slack, urlFile: /nonexistent/slack-url }
`,
    );
  });
  afterEach(async () => {
    await receiver.close();
    await rm(folder, { recursive: true });
  });

  const run = (...words: string[]) => runCli(['notify', 'test', ...words, '--config', config]);

  it('sends a sample incident and its end, whatever is wrong with other receivers', async () => {
    const { status, stdout } = await run('ops');
    expect(stdout).toBe('ops (slack): "opened" delivered\nops (slack): "resolved" delivered\n');
    expect(status).toBe(0);
    expect(receiver.requests.map(({ body }) => (JSON.parse(body) as { text: string }).text)).toEqual([
      'New: Test: unexpected peer 192.0.2.66 talks to the object manager on a-node (info)',
      'Resolved: Test: unexpected peer 192.0.2.66 talks to the object manager on a-node (info)',
    ]);
  });

  it('says why it was not delivered, without a secret, and answers with 2', async () => {
    receiver.answers = [{ status: 403, body: SECRET_PATH }];
    const { status, stdout, stderr } = await run('ops');
    expect(stdout).toBe('ops (slack): "opened" not delivered: HTTP status 403\n');
    expect(stderr).toBe('');
    expect(status).toBe(2);
  });

  it('writes JSON for programs', async () => {
    const { status, stdout } = await run('journal', '--json');
    expect(
      stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as unknown),
    ).toMatchObject([
      { type: 'delivery', receiver: 'journal', kind: 'file', notification: 'opened', outcome: 'delivered' },
      { type: 'delivery', receiver: 'journal', kind: 'file', notification: 'resolved', outcome: 'delivered' },
    ]);
    expect(status).toBe(0);
    expect((await readFile(join(folder, 'alerts.jsonl'), 'utf8')).trim().split('\n')).toHaveLength(2);
  });

  it('sends to standard output too', async () => {
    const { stdout } = await run('out', '--json');
    expect(stdout.trim().split('\n')).toHaveLength(4);
  });

  it.each([
    ['nobody', 'has no receiver named nobody; it has: ops, journal, out, broken [PW_USAGE]'],
    ['broken', 'URL of receiver broken: cannot read /nonexistent/slack-url: ENOENT [PW_SECRET]'],
  ])('says what is wrong with %s', async (name, problem) => {
    const { status, stderr } = await run(name);
    expect(status).toBe(2);
    expect(stderr).toContain(problem);
  });
});
