/** The shipped units with the shipped settings, run by systemd under their own sandbox. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packagePath } from '../../common/package.ts';
import { missingForMachines } from '../support/bare-root.ts';
import { Laboratory, type Machine } from '../support/machine.ts';
import { waitFor } from '../support/wait-for.ts';

const missing = missingForMachines();
const SETUP_LIMIT_MS = 300_000;
const HOST = 'collector.example.com';
const CERTIFICATE = `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=${HOST} \
  -addext subjectAltName=DNS:${HOST} -keyout /etc/plasmawatch/collector/tls.key -out /etc/plasmawatch/collector.pem`;

const shipped = (name: string): string => readFileSync(packagePath(`deploy/${name}`), 'utf8');

describe.skipIf(missing !== undefined)(
  `the shipped units${missing === undefined ? '' : ` (need ${missing})`}`,
  () => {
    let laboratory: Laboratory;
    let machine: Machine;

    beforeAll(async () => {
      laboratory = new Laboratory();
      await laboratory.open();
      machine = await laboratory.boot('node-1', '198.18.0.2', { [HOST]: '127.0.0.1' });
      for (const service of ['collector', 'agent']) {
        machine.write(
          `/etc/systemd/system/plasmawatch-${service}.service`,
          shipped(`plasmawatch-${service}.service`),
        );
        machine.write(`/etc/plasmawatch/${service}.yaml`, shipped(`${service}.yaml`));
        await machine.expect(`
        set -e
        useradd --system --no-create-home --shell /usr/sbin/nologin plasmawatch-${service}
        install -d -m 0750 -g plasmawatch-${service} /etc/plasmawatch/${service}
        echo a-token-that-is-long-enough | install -m 0640 -g plasmawatch-${service} /dev/stdin \
          /etc/plasmawatch/${service}/agent-token`);
      }
      machine.write(
        '/etc/plasmawatch/rules.yaml',
        readFileSync(packagePath('rules/object-manager.yaml'), 'utf8'),
      );
      await machine.expect(`
      set -e
      echo the-api-token-of-this-test | install -m 0640 -g plasmawatch-collector /dev/stdin /etc/plasmawatch/collector/api-token
      ${CERTIFICATE}
      chmod 0640 /etc/plasmawatch/collector/tls.key
      chgrp plasmawatch-collector /etc/plasmawatch/collector/tls.key
      cp /etc/plasmawatch/collector.pem /etc/plasmawatch/collector-ca.pem
      systemctl daemon-reload`);
    }, SETUP_LIMIT_MS);
    afterAll(() => laboratory.close());

    const property = async (service: string, name: string): Promise<string> =>
      (await machine.expect(`systemctl show --value --property=${name} plasmawatch-${service}`)).trim();
    const edit = (service: string, change: (settings: string) => string): void => {
      machine.write(
        `/etc/plasmawatch/${service}.yaml`,
        change(machine.read(`/etc/plasmawatch/${service}.yaml`)),
      );
    };
    const restore = (service: string): void => edit(service, () => shipped(`${service}.yaml`));
    /** The certificate that is served now, by its fingerprint. */
    const servedCertificate = async (): Promise<string> => {
      const fingerprint = 'openssl x509 -noout -fingerprint -sha256';
      return await machine.expect(
        `openssl s_client -connect ${HOST}:9440 </dev/null 2>/dev/null | ${fingerprint}`,
      );
    };

    it('start, work together and say what they do, with the settings that are shipped', async () => {
      await machine.expect('systemctl enable --now plasmawatch-collector plasmawatch-agent');
      await machine.expect(
        `curl --fail --silent --cacert /etc/plasmawatch/collector.pem https://${HOST}:9440/api/health`,
      );
      await waitFor(
        async () => (await property('collector', 'StatusText')).startsWith('1 agent connected'),
        'an agent',
      );
      await waitFor(
        async () => (await property('agent', 'StatusText')).endsWith(' connected'),
        'a connection',
      );
      expect(await property('agent', 'StatusText')).toMatch(
        /^watching 1 port, object-manager port 43800 guessed, not confirmed: .*, 1 member, collector connected$/,
      );
      expect(await property('collector', 'NRestarts')).toBe('0');
    });

    it.each([
      ['collector', 'a mistake', (text: string) => text.replace('port: 9440', 'prot: 9440')],
      ['collector', 'a secret that is not there', (text: string) => text.replace('api-token', 'none')],
      ['agent', 'a mistake', (text: string) => text.replace('maxSize: 256MiB', 'maxSize: 256')],
      ['agent', 'rules that are not there', (text: string) => text.replace('rules.yaml', 'none.yaml')],
    ])('let a start fail when the service does: %s, %s', async (service, _what, change) => {
      await machine.expect(`systemctl stop plasmawatch-${service}`);
      edit(service, change);
      const { status, output } = await machine.run(`systemctl enable --now plasmawatch-${service}`);
      restore(service);
      expect([status, output]).toEqual([1, expect.stringContaining('failed')]);
      await machine.expect(`systemctl restart plasmawatch-${service}`);
    });

    it.each(['collector', 'agent'])(
      'go on over a reload with the settings they have when the new ones of the %s are wrong',
      async (service) => {
        const before = await property(service, 'MainPID');
        edit(service, (text) => `${text}nonsense: true\n`);
        const { status, output } = await machine.run(`systemctl reload plasmawatch-${service}`);
        expect([status, output]).toEqual([1, expect.stringContaining('failed')]);
        // Whoever sends the signal without the check is told in log and status.
        await machine.expect(`systemctl kill --signal=HUP --kill-whom=main plasmawatch-${service}`);
        await waitFor(
          async () => (await property(service, 'StatusText')).includes('changed settings refused'),
          'the refusal',
        );
        restore(service);
        await machine.expect(`systemctl reload plasmawatch-${service}`);
        await waitFor(async () => !(await property(service, 'StatusText')).includes('refused'), 'the reload');
        expect(await property(service, 'MainPID')).toBe(before);
        expect(await property(service, 'ActiveState')).toBe('active');
      },
    );

    it('take over at a reload what can be, and name what needs a restart', async () => {
      const before = await property('collector', 'MainPID');
      edit('collector', (text) =>
        text
          .replace('keepDays: 30', 'keepDays: 31')
          .replace('receivers: []', 'receivers: [{ name: log, type: stdout, minimumSeverity: info }]'),
      );
      await machine.expect('systemctl reload plasmawatch-collector');
      await waitFor(
        async () =>
          (await property('collector', 'StatusText')).endsWith('; a restart is needed for store.keepDays'),
        'the remark',
      );
      expect(await machine.expect('journalctl --unit=plasmawatch-collector --output=cat')).toMatch(
        /"changed":\["receivers"\],"msg":"settings reloaded"/,
      );
      expect(await property('collector', 'MainPID')).toBe(before);
      restore('collector');
      await machine.expect('systemctl reload plasmawatch-collector');
    });

    it('serve a renewed certificate and take a renewed token without a restart; a broken one changes nothing', async () => {
      const pid = await property('collector', 'MainPID');
      const before = await servedCertificate();
      machine.write('/etc/plasmawatch/collector.pem', '-----BEGIN CERTIFICATE-----\nbroken\n');
      await waitFor(
        async () => (await property('collector', 'StatusText')).includes('changed secrets refused'),
        'the refusal',
      );
      expect(await servedCertificate()).toBe(before);
      await machine.expect(
        `${CERTIFICATE} && cp /etc/plasmawatch/collector.pem /etc/plasmawatch/collector-ca.pem`,
      );
      await waitFor(async () => (await servedCertificate()) !== before, 'the renewed certificate');
      const ask = `curl --fail --silent --output /dev/null --cacert /etc/plasmawatch/collector.pem \
      --header @/root/header https://${HOST}:9440/api/agents`;
      machine.write('/root/header', 'Authorization: Bearer the-renewed-token-of-this-test', 0o600);
      expect((await machine.run(ask)).status).not.toBe(0);
      await machine.expect('echo the-renewed-token-of-this-test > /etc/plasmawatch/collector/api-token');
      await waitFor(async () => (await machine.run(ask)).status === 0, 'the renewed token');
      expect(await property('collector', 'MainPID')).toBe(pid);
    });

    it.each(['collector', 'agent'])(
      'are started again when the main loop of the %s stands still',
      async (service) => {
        machine.write(
          `/etc/systemd/system/plasmawatch-${service}.service.d/test.conf`,
          '[Service]\nWatchdogSec=2s\nRestartSec=0\n',
        );
        await machine.expect(`systemctl daemon-reload && systemctl restart plasmawatch-${service}`);
        await machine.expect(`systemctl kill --signal=STOP --kill-whom=main plasmawatch-${service}`);
        await waitFor(async () => (await property(service, 'NRestarts')) === '1', 'a restart', 20_000);
        expect(await machine.expect(`journalctl --unit=plasmawatch-${service}`)).toContain(
          'Watchdog timeout',
        );
        await machine.expect(
          `rm -r /etc/systemd/system/plasmawatch-${service}.service.d && systemctl daemon-reload`,
        );
        await waitFor(
          async () => (await property(service, 'ActiveState')) === 'active',
          'the new start',
          20_000,
        );
      },
    );
  },
);
