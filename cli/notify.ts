/** `plasmawatch notify test`: does a receiver get what it is sent? */
import { hostname } from 'node:os';
import type { ArgumentsCamelCase } from 'yargs';
import { collectorConfigSchema } from '../collector/config.ts';
import { createNotifier } from '../collector/notify/notifier-factory.ts';
import { SEND_TIMEOUT_MS, type Delivery, type Notifier } from '../collector/notify/notifier.ts';
import { loadReceiverSecrets } from '../collector/notify/receiver-secrets.ts';
import { sampleStory } from '../collector/notify/sample.ts';
import { systemSockets } from '../collector/notify/sockets.ts';
import type { Notification } from '../collector/store/store.ts';
import { systemClock } from '../common/clock.ts';
import { PlasmawatchError } from '../common/errors.ts';
import { PATHS } from '../common/paths.ts';
import type { Command, ExitStatus, Terminal } from './command.ts';
import { loadConfig } from './config-file.ts';
import { writeJson, writeLine } from './output.ts';

interface NotifyTestOptions {
  readonly receiver: string;
  readonly config: string;
  readonly json: boolean;
}

export const notifyTestCommand: Command<NotifyTestOptions> = {
  usage: 'test <receiver>',
  description: 'send a receiver a sample incident and its end, and say what happened',
  options: (yargs) =>
    yargs
      .positional('receiver', {
        type: 'string',
        demandOption: true,
        description: 'name of the receiver in the settings',
      })
      .option('config', {
        type: 'string',
        default: PATHS.collectorConfig,
        requiresArg: true,
        description: 'settings of the collector',
      })
      .option('json', {
        type: 'boolean',
        default: false,
        description: 'print one JSON object a message',
      }),
  run: runNotifyTest,
};

async function runNotifyTest(
  { receiver: name, config: path, json }: ArgumentsCamelCase<NotifyTestOptions>,
  terminal: Terminal,
): Promise<ExitStatus> {
  const config = await loadConfig(collectorConfigSchema, path, terminal);
  if (config === undefined) return 2;
  const receiver = config.receivers.find((each) => each.name === name);
  if (receiver === undefined) {
    const names = config.receivers.map((each) => each.name).join(', ') || 'none';
    throw new PlasmawatchError('PW_USAGE', `${path} has no receiver named ${name}; it has: ${names}`);
  }
  const notifier = createNotifier(receiver, await loadReceiverSecrets(receiver), {
    fetch: globalThis.fetch,
    clock: systemClock,
    sockets: systemSockets,
    stdout: terminal.stdout,
    hostname: hostname(),
  });
  for (const notification of sampleStory(name, systemClock.now())) {
    const delivery = await deliver(notifier, notification, terminal.stopSignal);
    tell({ name, kind: receiver.type, notification, delivery, json }, terminal);
    if (delivery.outcome !== 'delivered') return 2;
    await pause(notifier.minIntervalMs);
  }
  return 0;
}

async function deliver(
  notifier: Notifier,
  notification: Notification,
  stopSignal: AbortSignal,
): Promise<Delivery> {
  const signal = AbortSignal.any([stopSignal, AbortSignal.timeout(SEND_TIMEOUT_MS)]);
  return await notifier.send(notification, signal);
}

interface Told {
  readonly name: string;
  readonly kind: string;
  readonly notification: Notification;
  readonly delivery: Delivery;
  readonly json: boolean;
}

function tell({ name, kind, notification: { type, id }, delivery, json }: Told, terminal: Terminal): void {
  if (json) {
    writeJson(terminal, { type: 'delivery', receiver: name, kind, notification: type, id, ...delivery });
    return;
  }
  const happened =
    delivery.outcome === 'delivered'
      ? ['delivered', ...(delivery.remark === undefined ? [] : [delivery.remark])]
      : ['not delivered', delivery.reason];
  writeLine(terminal, `${name} (${kind}): "${type}" ${happened.join(': ')}`);
}

async function pause(forMs: number): Promise<void> {
  await new Promise<void>((resolve) => {
    setTimeout(resolve, forMs);
  });
}
