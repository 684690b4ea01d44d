/** A flow's record as a line of JSON, for lists of many. */
import type { Flow, FlowSide } from './flow.ts';
import { isIpv4 } from './flow.ts';
import { communityId } from './community-id.ts';
import { recordInterface, recordTunnel, type FlowContext } from './record.ts';
import { formatAddress } from '../../common/address.ts';
import { formatTime } from '../../common/time.ts';

/**
 * The same text as `JSON.stringify(flowRecord(flow, context))`, put together directly: 1 µs instead of 3, which is a
 * tenth of all CPU time when 50,000 flows are listed. A test compares both.
 */
export function flowRecordText(flow: Flow<unknown>, context: FlowContext): string {
  const { initiator, responder } = flow;
  const start = formatTime(flow.firstSeconds, flow.firstNanoseconds);
  const end = formatTime(flow.lastSeconds, flow.lastNanoseconds);
  const type = isIpv4(initiator) && isIpv4(responder) ? 'ipv4' : 'ipv6';
  const service = context.service === undefined ? 'null' : JSON.stringify(context.service);
  const interfaceName = recordInterface(context);
  const tunnel = recordTunnel(flow);
  return (
    `{"type":"flow","event":{"start":"${start}","end":"${end}"},` +
    `"source":${endpointText(initiator)},"destination":${endpointText(responder)},` +
    `"network":{"transport":"tcp","type":"${type}","community_id":"${communityId(initiator, responder)}"},` +
    `"plasmawatch":{"state":"${flow.state}","service":${service},` +
    `"payload":{"source":${initiator.payloadBytes},"destination":${responder.payloadBytes}},` +
    `"stream":{"source":${initiator.streamBytes},"destination":${responder.streamBytes}}` +
    (interfaceName === undefined ? '' : `,"interface":${JSON.stringify(interfaceName)}`) +
    (tunnel === undefined ? '' : `,"tunnel":${JSON.stringify(tunnel)}`) +
    '}}'
  );
}

function endpointText(side: FlowSide): string {
  return `{"ip":"${formatAddress(side)}","port":${side.port},"packets":${side.packets},"bytes":${side.bytes}}`;
}
