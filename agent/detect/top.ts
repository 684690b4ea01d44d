/** The few that matter most out of many, in one pass and without sorting all of them. */

/** The `count` items of the highest weight, the highest first. */
export function heaviest<Item>(
  items: Iterable<Item>,
  count: number,
  weightOf: (item: Item) => number,
): Item[] {
  const best: { readonly item: Item; readonly weight: number }[] = [];
  if (count <= 0) return [];
  for (const item of items) {
    const weight = weightOf(item);
    const last = best.at(-1);
    if (last !== undefined && best.length >= count && weight <= last.weight) continue;
    if (best.length >= count) best.pop();
    let place = best.length;
    while (place > 0 && (best[place - 1]?.weight ?? Infinity) < weight) place--;
    best.splice(place, 0, { item, weight });
  }
  return best.map(({ item }) => item);
}
