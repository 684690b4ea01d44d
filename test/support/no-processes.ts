/** An agent's view of processes where none of them is of this machine. */
import type { AgentDependencies } from '../../agent/agent.ts';

export const noProcesses: Pick<AgentDependencies, 'processes' | 'processCounters'> = {
  processes: { isLocal: () => false, find: () => Promise.resolve(undefined) },
  processCounters: () => ({ looks: 0, unattributed: 0, givenUp: 0, turnedAway: 0, overdueReads: 0 }),
};
