/**
 * Words that an operator gives a receiver, in Liquid (https://liquidjs.com). A template can only read the values of the
 * notification: no files, no prototypes, bounded in time, memory and length. It is tried when the settings are read;
 * one that fails later all the same is replaced by the plain words, and counted.
 */
import { Liquid, type Template } from 'liquidjs';
import { z } from 'zod';
import { messageOf } from '../../common/errors.ts';
import { presentIncident } from '../incident/present.ts';
import type { Notification } from '../store/store.ts';
import { sampleNotifications } from './sample.ts';
import { cutText, HAPPENED, headlineOf, writePlainly, type Writer } from './wording.ts';

const MAX_TITLE_SOURCE = 1000;
const MAX_BODY_SOURCE = 10_000;
/** Of what comes out, in characters. */
const MAX_TITLE = 1000;
const MAX_BODY = 16_000;
const RENDER_LIMIT_MS = 200;
/** Liquid's own measure of what a rendering may allocate. */
const MEMORY_LIMIT = 200_000;

/** Makes a value harmless in the receiver's markup; the template's own text is the operator's and stays. */
export type Escape = (value: string) => string;

function templateText(maxLength: number) {
  return z
    .string()
    .min(1)
    .max(maxLength)
    .superRefine((text, context) => {
      const problem = problemOf(text);
      if (problem !== undefined) context.addIssue({ code: 'custom', message: problem, input: text });
    });
}

export const templateSchema = z.strictObject({
  title: templateText(MAX_TITLE_SOURCE).optional().describe('The title, in Liquid: `{{ headline }}`.'),
  body: templateText(MAX_BODY_SOURCE)
    .optional()
    .describe('The body, in Liquid: `{{ incident.peer }}`, `{{ incident.message }}`, …'),
});

export type TemplateConfig = z.output<typeof templateSchema>;

export interface TemplateOptions {
  readonly template: TemplateConfig | undefined;
  readonly escape: Escape;
  /** Called when a template failed and the plain words were taken. */
  readonly onFailure: () => void;
}

/** The writer that the settings ask for; plain words, escaped, where they ask for none. */
export function createWriter({ template = {}, escape, onFailure }: TemplateOptions): Writer {
  const engine = createEngine(escape);
  const title = template.title === undefined ? undefined : parse(engine, template.title);
  const body = template.body === undefined ? undefined : parse(engine, template.body);
  return (notification) => {
    const plain = writePlainly(notification);
    const fill = (parsed: readonly Template[] | undefined, fallback: string, maxLength: number): string => {
      if (parsed === undefined) return escape(fallback);
      try {
        const text = String(engine.renderSync([...parsed], valuesOf(notification)));
        if (text.trim() !== '') return cutText(text, maxLength);
      } catch {
        // Told by the counter: what Liquid says may quote values of the incident.
      }
      onFailure();
      return escape(fallback);
    };
    return {
      title: fill(title, plain.title, MAX_TITLE).replaceAll(/\s+/g, ' ').trim(),
      body: fill(body, plain.body, MAX_BODY),
    };
  };
}

/** Parsed at the start, where the settings have been checked; what cannot be parsed renders as a failure. */
function parse(engine: Liquid, source: string): Template[] {
  try {
    return engine.parse(source);
  } catch {
    return [];
  }
}

/** What a template can name. */
function valuesOf(notification: Notification): object {
  return {
    type: notification.type,
    happened: HAPPENED[notification.type],
    headline: headlineOf(notification),
    heldBack: notification.heldBack,
    incident: presentIncident(notification.incident),
  };
}

function problemOf(source: string): string | undefined {
  const engine = createEngine((value) => value);
  try {
    const parsed = engine.parse(source);
    for (const notification of sampleNotifications()) engine.renderSync(parsed, valuesOf(notification));
    return undefined;
  } catch (error) {
    return `expected a Liquid template: ${messageOf(error)}`.slice(0, 500);
  }
}

function createEngine(escape: Escape): Liquid {
  return new Liquid({
    // An empty set of partials takes the place of the file system.
    templates: {},
    strictVariables: true,
    strictFilters: true,
    ownPropertyOnly: true,
    parseLimit: MAX_BODY_SOURCE,
    renderLimit: RENDER_LIMIT_MS,
    memoryLimit: MEMORY_LIMIT,
    outputEscape: (value: unknown) => escape(textOf(value)),
  });
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  return value === null || value === undefined ? '' : JSON.stringify(value);
}
