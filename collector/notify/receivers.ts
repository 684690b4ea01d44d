/** Every type of receiver, and what the settings may say of it. */
import { z } from 'zod';
import { isLoopbackHost } from '../../common/address.ts';
import { SEVERITIES } from '../../common/event.ts';
import { filePath, hostName, port } from '../config-fields.ts';
import { FORMATS } from './format/format.ts';
import { PAGERDUTY_URL } from './pagerduty.ts';
import { FACILITIES } from './syslog.ts';
import { templateSchema } from './template.ts';

const MAX_RECEIVERS = 32;
const MAX_ADDRESSEES = 50;

/** No control character: a line break would begin another header. */
const mailAddress = z
  .string()
  .max(320)
  .regex(
    /^(?:[^\p{Cc}<>",]{1,128} <[^\s\p{Cc}<>",@]{1,64}@[A-Za-z0-9.-]{1,253}>|[^\s\p{Cc}<>",@]{1,64}@[A-Za-z0-9.-]{1,253})$/u,
    'an address such as `ops@example.com` or `plasmawatch <ops@example.com>`',
  );

const common = {
  name: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,64}$/, 'letters, digits and ._- only, at most 64')
    .describe('The name in logs, counters and the API. Messages that wait are kept under it.'),
  minimumSeverity: z
    .enum(SEVERITIES)
    .default('warning')
    .describe('Incidents below this are not told to the receiver: info, warning or critical.'),
};
const url = z.string().max(4096).optional();
const urlFile = filePath.optional().describe('File with the URL, where it holds a token.');
const template = templateSchema.optional().describe('Other words than ours, in Liquid.');
const format = z
  .enum(FORMATS)
  .default('plasmawatch')
  .describe(
    'The document: our own JSON, ECS, OCSF (a Detection Finding, or a Network Activity), or CloudEvents.',
  );
const caFile = filePath
  .optional()
  .describe("File with the authority of the server's certificate (PEM), where the system does not know it.");

const slack = z.strictObject({
  ...common,
  type: z.literal('slack').describe('A Slack channel.'),
  url: url.describe("The incoming webhook's URL. It is a secret: better in a file."),
  urlFile: urlFile.describe("File with the incoming webhook's URL."),
  template,
});

const webhook = z.strictObject({
  ...common,
  type: z.literal('webhook').describe('Any program that takes signed JSON (Standard Webhooks).'),
  url: url.describe('Where to post to.'),
  urlFile,
  secretFile: filePath.describe(
    'File with the signing secrets, one a line: `whsec_` and base64, or `whsk_` and base64 for Ed25519. Each of them signs.',
  ),
  format,
});

const alertmanager = z.strictObject({
  ...common,
  type: z.literal('alertmanager').describe('Prometheus Alertmanager, API v2.'),
  url: url.describe('Its address, such as `http://127.0.0.1:9093`.'),
  urlFile,
  tokenFile: filePath.optional().describe('File with a bearer token, where a proxy asks for one.'),
  externalUrl: z
    .url({ protocol: /^https?$/ })
    .max(1024)
    .optional()
    .describe("Address of this collector's API for people, for the alerts' links."),
  template,
});

const pagerduty = z.strictObject({
  ...common,
  type: z.literal('pagerduty').describe('PagerDuty, Events API v2.'),
  url: z
    .string()
    .max(4096)
    .default(PAGERDUTY_URL)
    .describe('For the EU: `https://events.eu.pagerduty.com/v2/enqueue`.'),
  routingKeyFile: filePath.describe("File with the integration's routing key."),
  template,
});

const teams = z.strictObject({
  ...common,
  type: z.literal('teams').describe('A Microsoft Teams channel, through a workflow.'),
  url: url.describe("The workflow's URL. It is a secret: better in a file."),
  urlFile: urlFile.describe("File with the workflow's URL."),
  template,
});

const email = z
  .strictObject({
    ...common,
    type: z.literal('email').describe('E-mail, through an SMTP server.'),
    host: hostName.describe('The SMTP server.'),
    port: port.min(1).default(587).describe('Its port: 587 for STARTTLS, 465 for TLS.'),
    security: z
      .enum(['starttls', 'tls', 'none'])
      .default('starttls')
      .describe('How the connection is protected; `none` on this machine only.'),
    caFile,
    username: z.string().min(1).max(256).optional().describe('User, where the server asks for one.'),
    passwordFile: filePath.optional().describe("File with the user's password."),
    from: mailAddress.describe('The sender.'),
    to: z.array(mailAddress).min(1).max(MAX_ADDRESSEES).describe('Who gets it.'),
    template,
  })
  .refine(({ security, host }) => security !== 'none' || isLoopbackHost(host), {
    path: ['security'],
    error: 'expected `starttls` or `tls` for a server that is not on this machine',
  })
  .refine(({ username, passwordFile }) => (username === undefined) === (passwordFile === undefined), {
    path: ['username'],
    error: 'expected both username and passwordFile, or neither',
  });

const syslog = z
  .strictObject({
    ...common,
    type: z.literal('syslog').describe('A syslog server (RFC 5424).'),
    host: hostName.describe('The syslog server.'),
    port: port.min(1).default(6514).describe('Its port.'),
    transport: z
      .enum(['tls', 'tcp', 'udp'])
      .default('tls')
      .describe('RFC 5425 over TLS; `tcp` and `udp` on this machine only.'),
    caFile,
    certFile: filePath.optional().describe('File with our certificate (PEM), where the server asks for one.'),
    keyFile: filePath.optional().describe('File with its private key (PEM).'),
    facility: z
      .enum(Object.keys(FACILITIES) as [keyof typeof FACILITIES])
      .default('authpriv')
      .describe('The facility.'),
    format: z
      .enum(['text', ...FORMATS])
      .default('text')
      .describe('The message: a line for people, or a document. The facts are structured data in any case.'),
  })
  .refine(({ transport, host }) => transport === 'tls' || isLoopbackHost(host), {
    path: ['transport'],
    error: 'expected `tls` for a server that is not on this machine',
  })
  .refine(({ certFile, keyFile }) => (certFile === undefined) === (keyFile === undefined), {
    path: ['certFile'],
    error: 'expected both certFile and keyFile, or neither',
  });

const file = z.strictObject({
  ...common,
  type: z.literal('file').describe('A file of JSON lines.'),
  path: filePath.describe('The file. Rotate it as you like: it is opened for each write.'),
  format,
});

const stdout = z.strictObject({
  ...common,
  type: z.literal('stdout').describe('Standard output, one JSON object a line.'),
  format,
});

const receiverSchema = z.discriminatedUnion(
  'type',
  [slack, webhook, alertmanager, pagerduty, teams, email, syslog, file, stdout],
  {
    error:
      'expected `slack`, `webhook`, `alertmanager`, `pagerduty`, `teams`, `email`, `syslog`, `file` or `stdout`',
  },
);

export type ReceiverConfig = z.output<typeof receiverSchema>;

/** Types whose URL may be a secret, and then comes from a file. */
const ADDRESSED: ReadonlySet<ReceiverConfig['type']> = new Set(['slack', 'webhook', 'alertmanager', 'teams']);

export const receiversSchema = z
  .array(
    receiverSchema.refine((receiver) => !ADDRESSED.has(receiver.type) || hasOneUrl(receiver), {
      error: 'expected either url or urlFile',
    }),
  )
  .max(MAX_RECEIVERS)
  .refine((list) => new Set(list.map(({ name }) => name)).size === list.length, {
    error: 'expected a different name for each receiver',
  });

function hasOneUrl(receiver: ReceiverConfig): boolean {
  return ['url', 'urlFile'].filter((key) => key in receiver).length === 1;
}
