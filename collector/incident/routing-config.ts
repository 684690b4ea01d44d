/** Who is told of which incidents, as the settings say it: a tree of routes. */
import { z } from 'zod';
import { suggestWord } from '../../common/schema-message.ts';
import { labelledMatchersSchema, type LabelledMatchers } from './matchers.ts';

const MAX_ROUTES = 100;
/** Routes below routes below … */
const MAX_DEPTH = 5;

export interface RouteConfig {
  readonly match?: LabelledMatchers | undefined;
  readonly receivers: readonly string[];
  readonly continue: boolean;
  readonly routes?: readonly RouteConfig[] | undefined;
}

const routeSchema = z.strictObject({
  match: labelledMatchersSchema
    .optional()
    .describe('Which incidents; all when left out. Every matcher that is given must match.'),
  receivers: z
    .array(z.string().max(64))
    .max(32)
    .describe('Names of the receivers that are told, each from its `minimumSeverity` on; none for nobody.'),
  continue: z
    .boolean()
    .default(false)
    .describe('Go on to the next route all the same, so that its receivers are told as well.'),
  get routes(): z.ZodOptional<z.ZodArray<typeof routeSchema>> {
    return z
      .array(routeSchema)
      .max(MAX_ROUTES)
      .optional()
      .describe('Routes that decide instead of this one for incidents that match them, too.');
  },
});

export const routesSchema = z.array(routeSchema).max(MAX_ROUTES);

/** What is wrong with a tree of routes beyond its form; `path` leads from the list of routes to the place. */
export interface RouteProblem {
  readonly path: (string | number)[];
  readonly message: string;
}

/** Receivers that do not exist, and trees that are too deep. */
export function checkRoutes(routes: readonly RouteConfig[], receivers: readonly string[]): RouteProblem[] {
  return problemsOf(routes, receivers, []);
}

function problemsOf(
  routes: readonly RouteConfig[],
  known: readonly string[],
  path: readonly (string | number)[],
): RouteProblem[] {
  return routes.flatMap(({ receivers, routes: below = [] }, index): RouteProblem[] => {
    const here = [...path, index];
    const unknown = receivers.flatMap((name, position): RouteProblem[] => {
      if (known.includes(name)) return [];
      const message = `there is no receiver \`${name}\`${suggestWord(name, known)}`;
      return [{ path: [...here, 'receivers', position], message }];
    });
    const isTooDeep = below.length > 0 && path.length / 2 + 2 > MAX_DEPTH;
    const deeper = isTooDeep
      ? [{ path: [...here, 'routes'], message: `routes may be nested ${MAX_DEPTH} deep at most` }]
      : problemsOf(below, known, [...here, 'routes']);
    return [...unknown, ...deeper];
  });
}
