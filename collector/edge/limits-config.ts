/** Settings of what a peer may use up. */
import { z } from 'zod';
import { sizeBytes } from '../../common/config-file.ts';
import { wholeNumber } from '../config-fields.ts';

const count = (usual: number) => wholeNumber(1, 100_000).default(usual);
const perSecond = (usual: number) => z.number().min(0.1).max(100_000).default(usual);

export const limitsSchema = z.strictObject({
  maxConnections: wholeNumber(1, 100_000).default(10_000).describe('Connections of agents at a time.'),
  maxAgents: wholeNumber(1, 1_000_000)
    .default(20_000)
    .describe('Agents that are known; more are turned away until old ones are removed.'),
  messagesPerSecond: perSecond(200).describe('Messages of one agent; one that sends more is read slower.'),
  bytesPerSecond: sizeBytes({ min: '64KiB', max: '1GiB' })
    .prefault('4MiB')
    .describe('Bytes of one agent in a second; one that sends more is read slower.'),
  maxVisitors: count(1000).describe(
    'Connections at a time that are not those of agents; the longest silent one makes place for another.',
  ),
  maxVisitorsPerAddress: count(100).describe(
    'The same of one address (of IPv6: one /64). Raise it for agents or people behind one address.',
  ),
  requestsPerSecond: perSecond(100).describe(
    'Requests to the API from one address, and with one token; more are answered 429.',
  ),
  connectionsPerSecond: perSecond(50).describe('New connections from one address; more are cut off.'),
});
