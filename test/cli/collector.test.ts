/** The collector as a process, with receivers that need more than HTTP. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { freePort } from '../support/free-port.ts';
import { HttpReceiver } from '../support/http-receiver.ts';
import { Program } from '../support/program.ts';
import { sendReports } from '../support/report-client.ts';
import { sampleAnomaly } from '../support/sample-report.ts';
import { cut, scripted, TcpReceiver } from '../support/tcp-receiver.ts';
import { waitFor } from '../support/wait-for.ts';

const AGENT_TOKEN = 'AgentTokenOfTheTestOfTheProcess';
const SECRETS = /T0SECRET|whsec_|RoutingKeySECRET|PasswordSECRET|AgentTokenOfTheTest/;

async function report(port: number): Promise<void> {
  await sendReports({ url: `http://127.0.0.1:${port}`, token: AGENT_TOKEN }, [sampleAnomaly(1)]);
}

describe('plasmawatch collector', () => {
  let folder: string;
  let http: HttpReceiver;
  let syslog: TcpReceiver;
  let mail: TcpReceiver;
  let program: Program | undefined;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-process-'));
    http = await HttpReceiver.open();
    syslog = await TcpReceiver.open();
    mail = await TcpReceiver.open();
  });
  afterEach(async () => {
    await program?.kill();
    await Promise.all([http.close(), syslog.close(), mail.close()]);
    await rm(folder, { recursive: true });
  });

  /** Settings with a receiver of every type; what is secret is in files or, for Slack, in the settings. */
  const configure = async (port: number): Promise<string> => {
    const secrets = {
      agent: AGENT_TOKEN,
      webhook: `whsec_${Buffer.from('SigningKeySECRET-of-the-test-32b').toString('base64')}`,
      pagerduty: 'RoutingKeySECRET',
      mail: 'PasswordSECRET',
    };
    for (const [name, secret] of Object.entries(secrets)) await writeFile(join(folder, name), secret);
    const path = join(folder, 'collector.yaml');
    const url = http.url('/services/T0SECRET');
    await writeFile(
      path,
      `listen: { port: ${port} }
agentTokenFile: ${folder}/agent
store: { path: "${folder}/collector.db" }
receivers:
  - { name: a-slack, type: slack, url: "${url}" }
  - { name: a-webhook, type: webhook, url: "${url}", secretFile: "${folder}/webhook" }
  - { name: an-alertmanager, type: alertmanager, url: "${url}" }
  - { name: a-pager, type: pagerduty, url: "${url}", routingKeyFile: "${folder}/pagerduty" }
  - { name: a-team, type: teams, url: "${url}" }
  - name: a-mail
    type: email
    host: 127.0.0.1
    port: ${mail.port}
    security: none
    username: watch
    passwordFile: ${folder}/mail
    from: watch@example.com
    to: [ops@example.com]
  - { name: a-siem, type: syslog, host: 127.0.0.1, port: ${syslog.port}, transport: tcp }
  - { name: a-file, type: file, path: "${folder}/missing/alerts.jsonl", format: ecs }
  - { name: the-log, type: stdout, format: cloudevents }
`,
    );
    return path;
  };

  it('says what fails by the name of the receiver, and no secret in its log or its command line', async () => {
    http.answers = [{ status: 500, body: 'T0SECRET RoutingKeySECRET' }];
    mail.behaviour = scripted('220 ready', {
      EHLO: '250-hello\r\n250 AUTH PLAIN',
      AUTH: '535 PasswordSECRET is wrong',
    });
    syslog.behaviour = cut;
    const port = await freePort();
    program = new Program(['collector', '--config', await configure(port), '--log-level', 'debug']);
    await program.said('listening on');
    await report(port);
    const names = 'a-slack a-webhook an-alertmanager a-pager a-team a-mail a-siem a-file'.split(' ');
    for (const name of names) await program.said(`"receiver":"${name}"`);
    await program.said('"specversion":"1.0"');
    const { stdout, stderr } = program;
    expect(stderr.join('\n')).not.toMatch(SECRETS);
    expect(stdout.map((line) => (JSON.parse(line) as { type: string }).type)).toEqual([
      'io.plasmawatch.incident.opened',
    ]);
    expect(await readFile(`/proc/${program.pid}/cmdline`, 'utf8')).not.toMatch(SECRETS);
    expect(await program.stop()).toBe(1);
  });

  it('reaches receivers through sockets, files and standard output', async () => {
    http.answers = [{ status: 202, body: 'ok' }];
    mail.behaviour = scripted('220 ready', {
      EHLO: '250-hello\r\n250 AUTH PLAIN',
      AUTH: '235 welcome',
      DATA: '354 go on',
    });
    const port = await freePort();
    const config = await configure(port);
    await writeFile(config, (await readFile(config, 'utf8')).replace('/missing/', '/'));
    program = new Program(['collector', '--config', config]);
    await program.said('listening on');
    await report(port);
    const file = join(folder, 'alerts.jsonl');
    await waitFor(
      async () => (await readFile(file, 'utf8').catch(() => '')).includes('"incident-opened"'),
      'a line in the file',
    );
    await waitFor(() => syslog.received.join('').includes('plasmawatch@32473'), 'a message of syslog');
    await waitFor(() => mail.received.join('').includes('Subject: New: Unexpected peer'), 'a mail');
    await program.said('"specversion":"1.0"');
    await waitFor(() => http.requests.length >= 5, 'a request of each receiver by HTTP');
    expect(await program.stop()).toBe(1);
    expect(program.stderr.join('\n')).not.toContain('was not delivered');
  });
});
