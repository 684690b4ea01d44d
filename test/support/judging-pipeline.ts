/** A pipeline in which the members of a cluster may reach each other's object managers, and nobody else. */
import { Frame } from '../../agent/capture/source.ts';
import { LINKTYPE_ETHERNET } from '../../agent/decode/link-type.ts';
import { Membership } from '../../agent/membership/membership.ts';
import type { NodeAddresses } from '../../agent/membership/node-addresses.ts';
import { Pipeline } from '../../agent/pipeline.ts';
import type { Clock } from '../../common/clock.ts';
import type { Anomaly } from '../../common/event.ts';
import type { TrustedTunnel } from '../../common/tunnel.ts';
import { Ruleset } from '../../rules/match.ts';
import type { ServicePorts } from '../../rules/schema.ts';
import { FakeProvider, membersView } from './fake-provider.ts';
import { sampleRule } from './sample-rule.ts';

type PipelineOptions = ConstructorParameters<typeof Pipeline>[0];

interface JudgingOptions extends Partial<Omit<PipelineOptions, 'policy' | 'reportAnomaly'>> {
  /** Addresses, with the port of their object manager where it is known: `10.0.0.1:43800`. */
  readonly members: readonly string[];
  readonly clock: Clock;
  /** Where the object managers are; `auto` when left out. */
  readonly services?: ServicePorts;
  readonly trustedTunnels?: readonly TrustedTunnel[];
  /** Where workers listen, which members may reach, too; nowhere when left out. */
  readonly workers?: ServicePorts;
  /** Further addresses of nodes, as their agents say. */
  readonly nodeAddresses?: NodeAddresses;
}

export interface JudgingPipeline {
  readonly pipeline: Pipeline;
  /** All that it has reported. */
  readonly anomalies: Anomaly[];
}

/** Opens one; what is left out of the options is as in a replay. */
export async function openPipeline({
  members,
  clock,
  services = 'auto',
  trustedTunnels = [],
  workers,
  nodeAddresses,
  ...options
}: JudgingOptions): Promise<JudgingPipeline> {
  const anomalies: Anomaly[] = [];
  const membership = new Membership({
    providers: new Map([['cluster', [new FakeProvider(membersView(...members))]]]),
    clock,
    nodeAddresses,
  });
  await membership.start();
  const ruleset = new Ruleset({
    rules: [
      sampleRule(),
      ...(workers === undefined ? [] : [sampleRule({ name: 'workers', to: ['worker'] })]),
    ],
    services: new Map([
      ['object-manager', services],
      ...(workers === undefined ? [] : ([['worker', workers]] as const)),
    ]),
    groups: new Map(),
    tunnels: trustedTunnels,
  });
  let ids = 0;
  const pipeline = new Pipeline({
    node: 'w1',
    policy: { ruleset, membership },
    maxFlows: 4096,
    countOnOneInterface: true,
    createId: () => `anomaly-${++ids}`,
    interfaceName: () => undefined,
    reportAnomaly: (anomaly) => anomalies.push(anomaly),
    reportFlow: () => {},
    reportEvidence: () => {},
    wantPackets: () => {},
    ...options,
  });
  return { pipeline, anomalies };
}

/** Hands an Ethernet frame to a pipeline. @param seconds since the epoch */
export function sendFrame(pipeline: Pipeline, bytes: Uint8Array, seconds: number, interfaceIndex = 1): void {
  const frame = new Frame();
  frame.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  frame.capturedLength = bytes.length;
  frame.originalLength = bytes.length;
  frame.linkType = LINKTYPE_ETHERNET;
  frame.seconds = seconds;
  frame.interfaceIndex = interfaceIndex;
  pipeline.frame(frame);
}
