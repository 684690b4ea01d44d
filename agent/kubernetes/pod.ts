/**
 * A pod as far as it matters here, and the member that it is.
 *
 * KubeRay labels the pods of a Ray cluster (kuberay, ray-operator/controllers/ray/utils/constant.go): `ray.io/cluster`,
 * `ray.io/node-type` (head, worker), `ray.io/group`, `ray.io/is-ray-node`. Labels are what whoever may create pods in the
 * namespace says.
 */
import { z } from 'zod';
import { parseAddress, type Address } from '../../common/address.ts';
import type { Member } from '../membership/provider.ts';

const text = z.string().max(512);
const time = z.iso.datetime({ offset: true });

/** The part of a `v1` Pod that is used. Command lines are cut rather than refused: only ports are looked for. */
export const podSchema = z.object({
  metadata: z.object({
    name: text,
    namespace: text,
    uid: text,
    resourceVersion: text.optional(),
    labels: z.record(z.string(), z.string()).nullish(),
    creationTimestamp: time.nullish(),
    deletionTimestamp: time.nullish(),
  }),
  spec: z
    .object({
      hostNetwork: z.boolean().nullish(),
      containers: z
        .array(
          z.object({
            command: z.array(z.string()).nullish(),
            args: z.array(z.string()).nullish(),
            ports: z
              .array(z.object({ name: text.nullish(), containerPort: z.number().int().min(1).max(65_535) }))
              .max(1000)
              .nullish(),
          }),
        )
        .max(1000)
        .nullish(),
    })
    .nullish(),
  status: z
    .object({
      phase: text.nullish(),
      podIP: text.nullish(),
      podIPs: z
        .array(z.object({ ip: text.nullish() }))
        .max(64)
        .nullish(),
      startTime: time.nullish(),
    })
    .nullish(),
});
export type Pod = z.infer<typeof podSchema>;

/** Container ports by the names that KubeRay gives them, and those that people may add. */
const SERVICE_OF_PORT_NAME: ReadonlyMap<string, string> = new Map([
  ['gcs-server', 'gcs'],
  ['gcs', 'gcs'],
  ['dashboard', 'dashboard'],
  ['client', 'client-server'],
  ['serve', 'serve'],
  ['object-manager', 'object-manager'],
  ['node-manager', 'node-manager'],
  ['dashboard-agent', 'dashboard-agent'],
  ['metrics', 'metrics-export'],
]);

/** Options of `ray start`; KubeRay writes them from `rayStartParams`. */
const SERVICE_OF_OPTION: ReadonlyMap<string, string> = new Map([
  ['object-manager-port', 'object-manager'],
  ['node-manager-port', 'node-manager'],
  ['port', 'gcs'],
  ['dashboard-port', 'dashboard'],
  ['ray-client-server-port', 'client-server'],
  ['dashboard-agent-listen-port', 'dashboard-agent'],
  ['dashboard-agent-grpc-port', 'dashboard-agent-grpc'],
  ['metrics-export-port', 'metrics-export'],
  ['runtime-env-agent-port', 'runtime-env-agent'],
]);
const MAX_COMMAND_LENGTH = 64 * 1024;

/**
 * The member that a pod is; undefined for one that has no address yet, or has ended: the API shows the address of a
 * completed pod on, though the network has given it to the next. One that is being deleted keeps it until it is gone.
 */
export function toMember(pod: Pod, source: string): Member | undefined {
  const { metadata, spec, status } = pod;
  if (hasEnded(pod)) return undefined;
  const addresses = addressesOf(pod);
  if (addresses.length === 0) return undefined;
  const labels = metadata.labels ?? {};
  const role = labels['ray.io/node-type'];
  const group = labels['ray.io/group'];
  const sinceMs = Date.parse(status?.startTime ?? metadata.creationTimestamp ?? '');
  return {
    id: idOf(pod),
    addresses,
    ...(role === 'head' || role === 'worker' ? { role } : {}),
    ...(group === undefined ? {} : { group }),
    ports: portsOf(pod),
    ...(Number.isNaN(sinceMs) ? {} : { sinceMs }),
    source,
    ...(spec?.hostNetwork === true ? { isShared: true } : {}),
  };
}

/** The pod's name as people write it. */
export function idOf({ metadata: { namespace, name } }: Pod): string {
  return `${namespace}/${name}`;
}

/** Whether its containers have ended for good. */
export function hasEnded({ status }: Pod): boolean {
  return status?.phase === 'Succeeded' || status?.phase === 'Failed';
}

function addressesOf({ status }: Pod): Address[] {
  const texts = status?.podIPs?.map(({ ip }) => ip) ?? [status?.podIP];
  return texts.flatMap((ip) => parseAddress(ip ?? '') ?? []);
}

function portsOf({ spec }: Pod): Map<string, readonly number[]> {
  const found = new Map<string, Set<number>>();
  const note = (service: string | undefined, port: number): void => {
    if (service === undefined || port < 1 || port > 65_535) return;
    found.set(service, (found.get(service) ?? new Set()).add(port));
  };
  for (const { ports, command, args } of spec?.containers ?? []) {
    for (const { name, containerPort } of ports ?? [])
      note(SERVICE_OF_PORT_NAME.get(name ?? ''), containerPort);
    const line = [...(command ?? []), ...(args ?? [])].join(' ').slice(0, MAX_COMMAND_LENGTH);
    if (!/\bray start\b/.test(line)) continue;
    for (const [, option = '', port] of line.matchAll(/(?<!\S)--([a-z-]+)[= ]+["']?(\d{1,5})(?!\d)/g))
      note(SERVICE_OF_OPTION.get(option), Number(port));
  }
  return new Map([...found].map(([service, ports]) => [service, [...ports]]));
}
