/** A raylet as the agent finds it. */
import type { Raylet } from '../../agent/ray/raylet.ts';

export function sampleRaylet(changes: Partial<Raylet> = {}): Raylet {
  return {
    pid: 6316,
    startTicks: 4711,
    executable: '/opt/ray/core/src/ray/raylet/raylet',
    userId: 1000,
    isProven: true,
    nodeId: '42a5',
    nodeAddress: '10.77.0.11',
    gcsAddress: '10.77.0.10:6379',
    objectManagerPort: 36_875,
    nodeManagerPort: undefined,
    how: 'log',
    ...changes,
  };
}
