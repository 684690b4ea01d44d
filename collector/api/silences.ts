/** What the API answers about silences, and how they are added and ended. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { Clock } from '../../common/clock.ts';
import { durationMs } from '../../common/config-file.ts';
import { checkedText } from '../../common/text-field.ts';
import { formatMilliseconds } from '../../common/time.ts';
import { matchersSchema } from '../incident/matchers.ts';
import { isActive, type Silences } from '../incident/silences.ts';
import type { Silence } from '../store/silence-table.ts';
import type { Store } from '../store/store.ts';
import { found, parametersOf } from './incident-parameters.ts';
import { checkBody, checkQuery, MAX_PAGE, noQuery, wholeNumber } from './query.ts';
import { ApiError } from './server.ts';

const silencesQuery = z.strictObject({
  state: z.enum(['current', 'ended']).default('current'),
  limit: wholeNumber.pipe(z.number().max(MAX_PAGE)).default(MAX_PAGE),
});

const silenceParameters = z.strictObject({ id: z.string().regex(/^SIL-[1-9]\d{0,14}$/) });

const time = z.iso
  .datetime({ offset: true, error: 'expected a time such as `2027-03-01T12:00:00Z`' })
  .transform((text) => Date.parse(text));

const silenceBody = z
  .strictObject({
    matchers: matchersSchema,
    reason: checkedText('one line of 1 to 256 characters', /^(?=.*\S)[^\p{Cc}]{1,256}$/u),
    start: time.optional(),
    end: time.optional(),
    duration: durationMs({ min: '1m', max: '90d' }).optional(),
  })
  .refine(({ end, duration }) => (end === undefined) !== (duration === undefined), {
    error: 'expected either `end` or `duration`',
  });

export interface SilenceRoutesOptions {
  readonly silences: Silences;
  readonly store: Pick<Store, 'silences'>;
  readonly clock: Pick<Clock, 'now'>;
}

export function addSilenceRoutes(
  server: FastifyInstance,
  { silences, store, clock }: SilenceRoutesOptions,
): void {
  const present = (silence: Silence) => presentSilence(silence, clock.now());

  server.get('/api/silences', (request) => {
    const { state, limit } = checkQuery(silencesQuery, request.query);
    const nowMs = clock.now();
    const listed =
      state === 'current'
        ? store.silences.current(nowMs).slice(0, limit)
        : store.silences.ended(nowMs, limit);
    return { silences: listed.map(present) };
  });

  server.post('/api/silences', (request, reply) => {
    checkQuery(noQuery, request.query);
    const { matchers, reason, start, end, duration } = checkBody(silenceBody, request.body);
    const added = silences.add(
      { matchers, reason, startMs: start, endMs: end, durationMs: duration },
      request.actor,
    );
    if ('refusal' in added) {
      throw new ApiError(added.refusal === 'full' ? 409 : 400, `silence-${added.refusal}`, added.message);
    }
    return reply.code(201).send({ silence: present(added.silence) });
  });

  server.delete('/api/silences/:id', (request) => {
    checkQuery(noQuery, request.query);
    const { id } = parametersOf(silenceParameters, request.params, 'silence');
    const silence = found(silences.end(id, request.actor), 'silence');
    return { silence: present(silence) };
  });
}

function presentSilence(silence: Silence, nowMs: number) {
  const { id, matchers, author, reason, createdMs, startMs, endMs, endedBy } = silence;
  const over = endMs <= nowMs ? 'ended' : 'pending';
  return {
    type: 'silence' as const,
    id,
    state: isActive(silence, nowMs) ? 'active' : over,
    matchers,
    author,
    reason,
    created: formatMilliseconds(createdMs),
    start: formatMilliseconds(startMs),
    end: formatMilliseconds(endMs),
    endedBy,
  };
}
