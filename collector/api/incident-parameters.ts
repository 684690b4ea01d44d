/** The parameters of routes below `/api/incidents/:id`. */
import { z } from 'zod';
import { ApiError } from './server.ts';

/** To be extended by what else stands in a route's path. */
export const incidentParameters = z.strictObject({ id: z.string().regex(/^INC-[1-9]\d{0,14}$/) });

/** @throws ApiError 404: parameters of the wrong shape name nothing that could be found */
export function parametersOf<Schema extends z.ZodType>(
  schema: Schema,
  parameters: unknown,
  what?: string,
): z.output<Schema> {
  const result = schema.safeParse(parameters);
  return found(result.success ? result.data : undefined, what);
}

/** @throws ApiError 404 where there is nothing */
export function found<Value>(value: Value | undefined, what = 'incident'): Value {
  if (value === undefined) throw new ApiError(404, 'not-found', `there is no such ${what}`);
  return value;
}
