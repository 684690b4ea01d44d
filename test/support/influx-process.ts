/** A real InfluxDB 1.x as a process that can be killed and started again on the same data. */
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { InfluxDB } from 'influx';
import { freePort } from './free-port.ts';
import { ServerProcess } from './server-process.ts';

const INFLUXD = '/usr/bin/influxd';

/** What a test needs for a database and does not have here, or undefined. */
export function missingForInflux(): string | undefined {
  return existsSync(INFLUXD) ? undefined : INFLUXD;
}

export class InfluxProcess {
  readonly port: number;
  readonly client: InfluxDB;
  readonly #folder: string;
  #server: ServerProcess | undefined;

  private constructor(folder: string, port: number) {
    this.#folder = folder;
    this.port = port;
    this.client = new InfluxDB({ host: '127.0.0.1', port });
  }

  /** Starts one on free ports, with its data below the folder. */
  static async open(folder: string): Promise<InfluxProcess> {
    const influx = new InfluxProcess(folder, await freePort());
    await writeFile(
      join(folder, 'influxdb.conf'),
      `reporting-disabled = true
bind-address = "127.0.0.1:${await freePort()}"
[meta]
dir = "${folder}/meta"
[data]
dir = "${folder}/data"
wal-dir = "${folder}/wal"
query-log-enabled = false
[http]
bind-address = "127.0.0.1:${influx.port}"
log-enabled = false
[monitor]
store-enabled = false
`,
    );
    await influx.start();
    return influx;
  }

  async start(): Promise<void> {
    this.#server = await ServerProcess.start(INFLUXD, ['-config', join(this.#folder, 'influxdb.conf')], {
      cwd: this.#folder,
      isReady: ServerProcess.answers(`http://127.0.0.1:${this.port}/ping`),
    });
  }

  async kill(): Promise<void> {
    await this.#server?.kill();
  }

  async stop(): Promise<void> {
    await this.#server?.stop();
  }
}
