/** The check of what comes with a request: behind the `?`, and in its body. */
import { z } from 'zod';
import { checkSchema } from '../../common/schema-message.ts';
import { ApiError } from './server.ts';

/** A page of a list holds no more. */
export const MAX_PAGE = 500;

/** A number above 0, written as digits. */
export const wholeNumber = z
  .string()
  .regex(/^[1-9]\d{0,14}$/, 'expected a whole number above 0')
  .transform(Number);

export const noQuery = z.strictObject({});

/** @throws ApiError 400 with one line that quotes nothing of the query */
export function checkQuery<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  // Unknown keys are the caller's words, and are not repeated.
  const problem =
    issue?.code === 'unrecognized_keys' ? 'an unknown parameter' : (issue?.message ?? 'invalid');
  const where =
    issue === undefined || issue.path.length === 0 ? 'query' : `query parameter ${issue.path.join('.')}`;
  throw new ApiError(400, 'bad-query', `${where}: ${problem}`);
}

/**
 * @throws ApiError 400 with one line that says where in the body what is wrong; it quotes what stands there, shortened,
 *   because a person wrote it
 */
export function checkBody<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  if (value === undefined || value === null) {
    throw new ApiError(400, 'bad-body', 'expected a body of JSON (content-type: application/json)');
  }
  const result = checkSchema(schema, value);
  if (result.ok) return result.value;
  const problem = result.problems[0];
  const place = ['body', ...(problem?.path ?? [])].join('.');
  throw new ApiError(400, 'bad-body', `${place}: ${problem?.message ?? 'invalid'}`);
}
