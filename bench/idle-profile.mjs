/** Where a profile of V8 says that time was spent, by source file of the program. */
import { readFileSync } from 'node:fs';

/** Rows of the table. */
const MAX_ROWS = 25;

/**
 * Self times of functions, added up for each file.
 *
 * @param path a .cpuprofile
 * @param lastSeconds how much of its end counts
 */
export function timeByFile(path, lastSeconds) {
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

/** The source file of a function; of what is none of ours, its name. */
function placeOf({ functionName, url, lineNumber }) {
  if (!url.startsWith('file:') && !url.startsWith('/')) return `${url} ${functionName}`.trim();
  return `${sourceOf(url.replace('file://', ''), lineNumber)} ${functionName}`;
}

const regionsOfFile = new Map();

/** Which file a line of the built program comes from: the bundler writes `//#region FILE` before each. */
function sourceOf(path, lineNumber) {
  if (!regionsOfFile.has(path)) {
    let region = path;
    const regions = readFileSync(path, 'utf8')
      .split('\n')
      .map((line) => (region = /^\/\/#region (.*)$/.exec(line)?.[1] ?? region));
    regionsOfFile.set(path, regions);
  }
  return regionsOfFile.get(path)[lineNumber] ?? path;
}
