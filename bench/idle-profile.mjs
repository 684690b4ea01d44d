/** Where a profile of V8 says that time was spent. */
import { readFileSync } from 'node:fs';

/** Rows of the table. */
const MAX_ROWS = 25;

/**
 * Self times of functions, added up for each of a name.
 *
 * @param path a .cpuprofile
 * @param lastSeconds how much of its end counts
 */
export function timeByFunction(path, lastSeconds) {
  const { nodes, samples, timeDeltas, endTime, startTime } = JSON.parse(readFileSync(path, 'utf8'));
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
  const totals = new Map();
  let nowUs = startTime;
  for (const [index, id] of samples.entries()) {
    nowUs += timeDeltas[index];
    if (nowUs < endTime - lastSeconds * 1e6) continue;
    const place = placeOf(frames.get(id));
    totals.set(place, (totals.get(place) ?? 0) + timeDeltas[index] / 1000);
  }
  totals.delete('(idle)');
  return [...totals]
    .toSorted(([, a], [, b]) => b - a)
    .slice(0, MAX_ROWS)
    .map(([place, ms]) => ({ place, ms: Math.round(ms) }));
}

/** The file and the name of a function. */
function placeOf({ functionName, url }) {
  if (!url.startsWith('file:') && !url.startsWith('/')) return `${url} ${functionName.slice(0, 40)}`.trim();
  return `${url.replace(/^.*\/(?=dist\/|node_modules\/)/, '')} ${functionName}`;
}
