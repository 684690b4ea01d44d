/** Hours of the week in which some incidents are told to nobody. */
import { z } from 'zod';
import { checkedText } from '../../common/text-field.ts';
import { parseHours, type Hours } from '../../rules/hours.ts';
import { compileMatchers, labelledMatchersSchema, type Labels } from './matchers.ts';
import type { MutedBy } from './muting.ts';

const MAX_MUTE_TIMES = 100;

export const muteTimesSchema = z
  .array(
    z.strictObject({
      name: checkedText('a name such as `nights`', /^[A-Za-z0-9._-]{1,64}$/).describe(
        'The name by which incidents say what mutes them.',
      ),
      hours: checkedText(
        'hours such as `mon-fri 20:00-07:00 Europe/Berlin`',
        /./,
        (text) => parseHours(text).problem,
      ).describe('When, by the wall clock of a time zone (UTC when left out).'),
      match: labelledMatchersSchema.describe('Which incidents: those that are about nothing else.'),
    }),
  )
  .max(MAX_MUTE_TIMES)
  .refine((list) => new Set(list.map(({ name }) => name)).size === list.length, {
    error: 'expected a different name for each mute time',
  });

/** What the mute times of the settings mute: `mute time nights`. */
export function muteTimes(
  entries: z.output<typeof muteTimesSchema>,
  labelsOf: (node: string) => Labels,
): MutedBy {
  const compiled = entries.map(({ name, hours, match }) => ({
    reason: `mute time ${name}`,
    isWithin: hoursOf(hours),
    isMatching: compileMatchers(match, { extent: 'all', labelsOf }),
  }));
  return (incident, nowMs) =>
    compiled.find(({ isWithin, isMatching }) => isMatching(incident) && isWithin(nowMs))?.reason;
}

/** The schema has checked the text. */
function hoursOf(text: string): Hours {
  const parsed = parseHours(text);
  if (parsed.problem !== undefined) throw new Error(`unchecked hours: ${parsed.problem}`);
  return parsed.hours;
}
