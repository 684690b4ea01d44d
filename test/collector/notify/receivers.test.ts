import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../common/clock.ts';
import { parseYaml } from '../../../common/config-file.ts';
import { createNotifier } from '../../../collector/notify/notifier-factory.ts';
import { loadReceiverSecrets } from '../../../collector/notify/receiver-secrets.ts';
import { receiversSchema, type ReceiverConfig } from '../../../collector/notify/receivers.ts';

function problemsOf(settings: string): string[] {
  const { diagnostics } = parseYaml(receiversSchema, `[{ name: ops, ${settings} }]`, 'collector.yaml');
  return diagnostics.map(({ message }) => message);
}

function receiverOf(settings: object): ReceiverConfig {
  const [receiver] = receiversSchema.parse([{ name: 'ops', ...settings }]);
  if (receiver === undefined) throw new Error('no receiver');
  return receiver;
}

describe('the settings of a receiver', () => {
  it.each([
    'type: alertmanager, url: "http://127.0.0.1:9093", tokenFile: t',
    'type: pagerduty, routingKeyFile: k, url: "https://events.eu.pagerduty.com/v2/enqueue"',
    'type: teams, urlFile: u, template: { title: "{{ headline }}" }',
    'type: email, host: smtp.example.com, from: "Ray <ray@example.com>", to: [ops@example.com]',
    'type: email, host: localhost, port: 25, security: none, from: a@b.example, to: [ops@example.com]',
    'type: syslog, host: syslog.example.com',
    'type: syslog, host: "::1", port: 514, transport: udp, facility: local3, format: cloudevents',
    'type: file, path: /var/log/alerts.jsonl, format: ocsf-network',
    'type: stdout',
  ])('may be %s', (settings) => {
    expect(problemsOf(settings)).toEqual([]);
  });

  it.each([
    [
      'type: email, host: smtp.example.com, security: none, from: a@b.example, to: [c@d.example]',
      'expected `starttls` or `tls` for a server that is not on this machine',
    ],
    [
      'type: email, host: smtp.example.com, username: u, from: a@b.example, to: [c@d.example]',
      'expected both username and passwordFile, or neither',
    ],
    ['type: email, host: h, from: a@b.example, to: ["c@d.example\\nBcc: e@f.example"]', 'an address such as'],
    ['type: email, host: h, from: "x\\r\\nX: y <a@b.example>", to: [c@d.example]', 'an address such as'],
    ['type: email, host: h, from: "a@b.example, c@d.example", to: [c@d.example]', 'an address such as'],
    ['type: email, host: h, from: a@b.example, to: []', 'at least 1 entry'],
    [
      'type: syslog, host: 10.0.0.1, transport: tcp',
      'expected `tls` for a server that is not on this machine',
    ],
    ['type: syslog, host: example.com, transport: udp', 'expected `tls` for a server'],
    ['type: syslog, host: h, certFile: c', 'expected both certFile and keyFile, or neither'],
    ['type: teams', 'expected either url or urlFile'],
    ['type: alertmanager, url: "http://a", urlFile: b', 'expected either url or urlFile'],
    ['type: pagerduty', '`routingKeyFile`'],
    ['type: stdout, format: xml', '`xml`'],
    ['type: file, path: /x, template: { title: x }', '`template`'],
  ])('may not be %s', (settings, problem) => {
    const problems = problemsOf(settings);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(problem);
  });
});

describe('the secrets of a receiver', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-receivers-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const write = async (name: string, text: string): Promise<string> => {
    await writeFile(join(folder, name), text);
    return join(folder, name);
  };

  it('come from files, and from nowhere else for the types that are new', async () => {
    const file = await write('secret', 'the-secret\n');
    const urlFile = await write('url', 'https://hooks.example/x\n');
    const pem = await write('pem', '-----BEGIN CERTIFICATE-----\n');
    const load = async (settings: object) => await loadReceiverSecrets(receiverOf(settings));
    expect(await load({ type: 'alertmanager', urlFile, tokenFile: file })).toEqual({
      url: 'https://hooks.example/x',
      token: 'the-secret',
    });
    expect(await load({ type: 'pagerduty', routingKeyFile: file })).toEqual({ routingKey: 'the-secret' });
    expect(await load({ type: 'teams', urlFile })).toEqual({ url: 'https://hooks.example/x' });
    const mail = { type: 'email', host: 'h', from: 'a@b.example', to: ['c@d.example'], username: 'u' };
    expect(await load({ ...mail, passwordFile: file, caFile: pem })).toEqual({
      password: 'the-secret',
      ca: '-----BEGIN CERTIFICATE-----\n',
    });
    expect(await load({ type: 'syslog', host: 'h', certFile: pem, keyFile: pem })).toMatchObject({
      identity: { cert: '-----BEGIN CERTIFICATE-----\n' },
    });
    expect(await load({ type: 'file', path: '/x' })).toEqual({});
    expect(await load({ type: 'alertmanager', url: 'http://am.example' })).toMatchObject({
      url: 'http://am.example',
    });
    expect(await load({ type: 'slack', url: 'http://[::1]:1/x' })).toEqual({ url: 'http://[::1]:1/x' });
  });

  it.each([
    ['pagerduty', { routingKeyFile: 'SECRET key' }, 'routing key of receiver ops: expected printable ASCII'],
    ['teams', { urlFile: 'SECRET' }, 'URL of receiver ops: expected an http or https URL'],
    ['alertmanager', { urlFile: 'https://SECRET:x@host' }, 'user and password in a URL are not supported'],
    [
      'slack',
      { urlFile: 'http://hooks.example/SECRET' },
      'expected https, or a secret would travel in clear',
    ],
    ['teams', { urlFile: 'http://127.0.0.1.SECRET.example/' }, 'expected https'],
    ['pagerduty', { url: 'http://events.example', routingKeyFile: 'SECRET' }, 'expected https'],
    ['alertmanager', { url: 'http://am.example', tokenFile: 'SECRET' }, 'expected https'],
    ['syslog', { host: 'h', caFile: 'SECRET' }, 'expected PEM'],
    [
      'webhook',
      { url: 'http://h', secretFile: 'SECRET*' },
      'signing secret of receiver ops: expected base64',
    ],
  ])('are checked and not shown: %s with %j', async (type, files, problem) => {
    const settings: Record<string, string> = { type };
    for (const [key, value] of Object.entries(files)) {
      settings[key] = key.endsWith('File') ? await write(key, value) : value;
    }
    const receiver = receiverOf(settings);
    const making = (async () =>
      createNotifier(receiver, await loadReceiverSecrets(receiver), { fetch, clock: systemClock }))();
    await expect(making).rejects.toMatchObject({
      code: 'PW_SECRET',
      message: expect.stringContaining(problem),
    });
    await expect(making).rejects.not.toThrow(/SECRET/);
  });

  it('that were not loaded, and ways out that were not given, are an error that names the receiver', () => {
    const make = (settings: object) => () =>
      createNotifier(receiverOf(settings), {}, { fetch, clock: systemClock });
    expect(make({ type: 'teams', url: 'http://h' })).toThrow('receiver ops: its url was not loaded');
    expect(make({ type: 'pagerduty', routingKeyFile: 'k' })).toThrow('its routingKey was not loaded');
    expect(make({ type: 'syslog', host: 'h' })).toThrow('receiver ops: no sockets were given');
    expect(make({ type: 'stdout' })).toThrow('receiver ops: no standard output was given');
  });
});
