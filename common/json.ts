/** JSON that others wrote. */

/** The value of a text; undefined for what is no JSON, which no schema accepts. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
