/** What the services have in common while they run: systemd is told of them, and SIGHUP reloads their settings. */
import { systemClock } from '../common/clock.ts';
import type { Logger } from '../common/log.ts';
import type { Terminal } from './command.ts';
import { SettingsReload, type ReloadOptions } from './reload.ts';
import { untilStopped } from './system.ts';
import { Systemd, type ServiceState } from './systemd.ts';

interface ServiceOptions<Config extends object> {
  readonly logger: Logger;
  readonly state: () => ServiceState;
  readonly reload: Omit<ReloadOptions<Config>, 'clock' | 'logger' | 'onDone'>;
}

/** Runs until the process is told to stop. To be called once the service has started. */
export async function serve<Config extends object>(
  terminal: Pick<Terminal, 'env' | 'stopSignal' | 'onHangUp'>,
  { logger, state, reload }: ServiceOptions<Config>,
): Promise<void> {
  const settings = new SettingsReload({
    ...reload,
    clock: systemClock,
    logger: logger.child({ component: 'settings' }),
    onDone: () => systemd.update(),
  });
  const systemd: Systemd = new Systemd({
    env: terminal.env,
    clock: systemClock,
    logger,
    state: () => {
      const { status, fault } = state();
      return { status: settings.remark === undefined ? status : `${status}; ${settings.remark}`, fault };
    },
  });
  terminal.onHangUp?.(() => void settings.reload());
  await settings.start();
  await systemd.ready();
  await untilStopped(terminal);
  await settings.stop();
  systemd.stopping();
}
