/** What a raylet's command line says, each part only where it has the expected form. All of it is the process's own word. */
import { basename } from 'node:path';
import { parseAddress } from '../../common/address.ts';

export type RayletOptions = ReadonlyMap<string, string>;

/** Ray's command lines have some forty arguments in 8 KiB; what is beyond these bounds is not looked at. */
export const MAX_COMMAND_LINE_BYTES = 64 * 1024;
const MAX_ARGUMENTS = 1024;
const MAX_NAME_LENGTH = 256;

/** Whether a command line, or its beginning, is of a program that calls itself raylet. */
export function isCalledRaylet(commandLine: string): boolean {
  const end = commandLine.indexOf('\0');
  return basename(end === -1 ? commandLine : commandLine.slice(0, end)) === 'raylet';
}

/** @param commandLine /proc/PID/cmdline; undefined where it is no raylet's: those always have these two options */
export function parseRayletOptions(commandLine: string): RayletOptions | undefined {
  if (!isCalledRaylet(commandLine)) return undefined;
  const options = new Map<string, string>();
  for (const value of commandLine.split('\0', MAX_ARGUMENTS)) {
    const match = /^--([\w-]{1,64})=(.*)$/s.exec(value);
    if (match?.[1] !== undefined && match[2] !== undefined) options.set(match[1], match[2]);
  }
  return options.has('object_manager_port') && options.has('node_ip_address') ? options : undefined;
}

/** An option's text where it has the expected form; empty otherwise. */
export function textOption(options: RayletOptions, name: string, form: RegExp): string {
  const text = options.get(name) ?? '';
  return text.length <= MAX_NAME_LENGTH && form.test(text) ? text : '';
}

/** The address by which the other nodes know it; empty where there is none. */
export function nodeAddressOf(options: RayletOptions): string {
  const text = options.get('node_ip_address') ?? '';
  return parseAddress(text) === undefined ? '' : text;
}

/** The folder of its session, as the process sees it. */
export function sessionOf(options: RayletOptions): string {
  return options.get('session_dir') ?? '/tmp/ray/session_latest';
}
