/** A field of settings that is a text of some form, with words for a person where it is none. */
import { z } from 'zod';
import { expected } from './schema-message.ts';

/**
 * A schema of texts that match `pattern`.
 * @param what the form, as it follows `expected`: "a port or a range such as `10002-19999`"
 * @param problemOf what is wrong with a text beyond its form, in one line; undefined for nothing
 */
export function checkedText(
  what: string,
  pattern: RegExp,
  problemOf?: (text: string) => string | undefined,
): z.ZodString {
  const error = ({ input }: { input?: unknown }): string | undefined => {
    if (input === undefined) return undefined;
    const isBareText =
      (typeof input === 'number' || typeof input === 'boolean') && pattern.test(String(input));
    return `${expected(what, input)}${isBareText && problemOf === undefined ? '; write it in quotes' : ''}`;
  };
  const text = z.string({ error }).regex(pattern, { error, abort: true });
  if (problemOf === undefined) return text;
  return text.superRefine((value, context) => {
    const problem = problemOf(value);
    if (problem !== undefined) context.addIssue({ code: 'custom', message: problem });
  });
}
