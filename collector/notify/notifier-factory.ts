/** From the settings of a receiver to its notifier. */
import type { Clock } from '../../common/clock.ts';
import { PlasmawatchError } from '../../common/errors.ts';
import { createAlertmanagerNotifier } from './alertmanager.ts';
import { createEmailNotifier } from './email.ts';
import { createFileNotifier } from './file.ts';
import type { Notifier } from './notifier.ts';
import { withInertTexts } from './inert-text.ts';
import { createPagerdutyNotifier } from './pagerduty.ts';
import type { Fetch } from './post.ts';
import type { ReceiverSecrets } from './receiver-secrets.ts';
import type { ReceiverConfig } from './receivers.ts';
import { createSlackNotifier, escapeValue } from './slack.ts';
import type { Sockets } from './sockets.ts';
import { createStdoutNotifier } from './stdout.ts';
import { createSyslogNotifier } from './syslog.ts';
import { createTeamsNotifier, escapeMarkdown } from './teams.ts';
import { createWriter, type Escape } from './template.ts';
import { createWebhookNotifier } from './webhook.ts';
import type { Writer } from './wording.ts';

/** What notifiers reach the outside with. */
export interface Outside {
  readonly fetch: Fetch;
  readonly clock: Clock;
  readonly sockets?: Sockets | undefined;
  readonly stdout?: NodeJS.WritableStream | undefined;
  /** This machine's name. */
  readonly hostname?: string | undefined;
  /** A receiver's template failed, and the plain words were taken. */
  readonly onTemplateFailure?: ((receiver: string) => void) | undefined;
}

/**
 * The notifier of a receiver.
 * @throws PlasmawatchError PW_SECRET when a secret is missing or none; PW_NOTIFY when the outside lacks what it needs
 */
export function createNotifier(
  receiver: ReceiverConfig,
  secrets: ReceiverSecrets,
  outside: Outside,
): Notifier {
  // The type of the entry and that of the receiver are one, which the compiler does not follow.
  const make = MAKERS[receiver.type] as Maker<ReceiverConfig>;
  return withInertTexts(make(receiver, new Supplies(receiver, secrets, outside)));
}

type Maker<Receiver extends ReceiverConfig> = (receiver: Receiver, supplies: Supplies) => Notifier;

const MAKERS: { readonly [Type in ReceiverConfig['type']]: Maker<Extract<ReceiverConfig, { type: Type }>> } =
  {
    slack: (_receiver, { http, secret, writer }) =>
      createSlackNotifier({ ...http, url: secret('url'), write: writer(escapeValue) }),
    webhook: ({ name, format }, { http, secret }) =>
      createWebhookNotifier({
        ...http,
        url: secret('url'),
        signingSecret: secret('signingSecret'),
        secretName: `signing secret of receiver ${name}`,
        format,
      }),
    alertmanager: ({ externalUrl }, { http, secrets: { token }, secret, writer }) =>
      createAlertmanagerNotifier({ ...http, url: secret('url'), token, externalUrl, write: writer(asIs) }),
    pagerduty: ({ url }, { http, secret, writer }) =>
      createPagerdutyNotifier({ ...http, url, routingKey: secret('routingKey'), write: writer(asIs) }),
    teams: (_receiver, { http, secret, writer }) =>
      createTeamsNotifier({ ...http, url: secret('url'), write: writer(escapeMarkdown) }),
    email: (receiver, { secrets: { ca, password }, sockets, writer }) =>
      createEmailNotifier({ ...receiver, ca, password, sockets: sockets(), write: writer(asIs) }),
    syslog: (receiver, { http: { clock }, secrets: { ca, identity }, hostname, sockets }) =>
      createSyslogNotifier({ ...receiver, ca, identity, hostname, sockets: sockets(), clock }),
    file: (receiver) => createFileNotifier(receiver),
    stdout: ({ format }, { stdout }) => createStdoutNotifier({ format, stdout: stdout() }),
  };

/** For media without markup. */
const asIs: Escape = (value) => value;

/** What a receiver's notifier is made of, besides its settings. */
class Supplies {
  readonly secrets: ReceiverSecrets;
  readonly http: { readonly fetch: Fetch; readonly clock: Clock };
  readonly hostname: string;
  readonly #receiver: ReceiverConfig;
  readonly #outside: Outside;

  constructor(receiver: ReceiverConfig, secrets: ReceiverSecrets, outside: Outside) {
    const { fetch, clock, hostname = '' } = outside;
    this.secrets = secrets;
    this.http = { fetch, clock };
    this.hostname = hostname;
    this.#receiver = receiver;
    this.#outside = outside;
  }

  readonly secret = (key: 'url' | 'signingSecret' | 'routingKey'): string =>
    this.#present(this.secrets[key], 'PW_SECRET', `its ${key} was not loaded`);

  readonly sockets = (): Sockets =>
    this.#present(this.#outside.sockets, 'PW_NOTIFY', 'no sockets were given');

  readonly stdout = (): NodeJS.WritableStream =>
    this.#present(this.#outside.stdout, 'PW_NOTIFY', 'no standard output was given');

  /** Undefined where the settings have no words of their own. */
  readonly writer = (escape: Escape): Writer | undefined => {
    const { name } = this.#receiver;
    const template = 'template' in this.#receiver ? this.#receiver.template : undefined;
    if (template === undefined) return undefined;
    return createWriter({ template, escape, onFailure: () => this.#outside.onTemplateFailure?.(name) });
  };

  #present<Value>(value: Value | undefined, code: 'PW_SECRET' | 'PW_NOTIFY', problem: string): Value {
    if (value !== undefined) return value;
    throw new PlasmawatchError(code, `receiver ${this.#receiver.name}: ${problem}`);
  }
}
