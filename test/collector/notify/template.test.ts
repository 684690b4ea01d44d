import { describe, expect, it } from 'vitest';
import { parseYaml } from '../../../common/config-file.ts';
import { collectorConfigSchema } from '../../../collector/config.ts';
import { escapeValue } from '../../../collector/notify/slack.ts';
import { createWriter, type TemplateConfig } from '../../../collector/notify/template.ts';
import { sampleIncident, sampleNotification } from '../../support/collector-parts.ts';

/** The problems that the settings have with a body. */
function problemsOf(body: string): string[] {
  const text = JSON.stringify({
    receivers: [{ name: 'ops', type: 'slack', url: 'https://hooks.example', template: { body } }],
  });
  return parseYaml(collectorConfigSchema, text, 'collector.yaml').diagnostics.map(({ message }) => message);
}

function write(template: TemplateConfig, incident = sampleIncident()) {
  let failures = 0;
  const writer = createWriter({ template, escape: escapeValue, onFailure: () => failures++ });
  return { ...writer(sampleNotification({ incident })), failures };
}

describe('a template', () => {
  it('can say everything of an incident, in its own words', () => {
    const template = {
      title: '[{{ incident.severity | upcase }}] {{ happened }}: {{ incident.peer }}',
      body: '{% if incident.peer %}*{{ incident.peer }}*{% endif %} on {{ incident.nodes | join: ", " }}\n{{ type }} {{ incident.opened }}',
    };
    expect(write(template, sampleIncident({ nodes: ['w1', 'w2'] }))).toEqual({
      title: '[CRITICAL] New: 10.77.9.66',
      body: '*10.77.9.66* on w1, w2\nopened 2026-11-23T09:42:13.000000000Z',
      failures: 0,
    });
  });

  it("escapes values for the receiver's medium, not its own text", () => {
    const incident = sampleIncident({ message: '<!channel> & co' });
    expect(write({ body: '<!here> {{ incident.message }}' }, incident).body).toBe(
      '<!here> &lt;!channel&gt; &amp; co',
    );
  });

  it('leaves the plain words where it has none', () => {
    expect(write({ title: '{{ headline }}!' })).toMatchObject({
      title: 'New: Unexpected peer 10.77.9.66 talks to the object manager on w1!',
      body: expect.stringContaining('Severity: critical'),
    });
  });

  it('that fails is replaced by the plain words and counted: nothing is lost', () => {
    // Passes with the samples, whose node has another name.
    const body = '{% if incident.nodes[0] == "w1" %}{{ incident.nonsense }}{% endif %}x';
    expect(problemsOf(body)).toEqual([]);
    expect(write({ body })).toEqual({
      title: 'New: Unexpected peer 10.77.9.66 talks to the object manager on w1',
      body: expect.stringContaining('10.77.9.66 is no member and no rule allows it') as string,
      failures: 1,
    });
    expect(write({ body: '{{ incident.missing' }).failures).toBe(1);
  });

  it('is bounded in what comes out', () => {
    const { body } = write({ body: '{% for i in (1..500) %}{{ incident.message }}{% endfor %}' });
    expect(body.length).toBeLessThanOrEqual(16_000);
    expect(body.endsWith('…')).toBe(true);
  });

  it.each([
    ['{{ incident.nonsense }}', 'undefined variable: incident.nonsense'],
    ['{{ incident.peer | nonsense }}', 'undefined filter: nonsense'],
    ['{{ incident.peer', 'not closed'],
    ['{% nonsense %}', 'tag "nonsense" not found'],
    ["{% include '/etc/passwd' %}", 'ENOENT'],
    ["{% render '../../package.json' %}", 'ENOENT'],
    ['{{ incident.constructor.name }}', 'undefined variable: incident.constructor'],
    ['{% for i in (1..1000000000) %}x{% endfor %}', 'memory alloc limit exceeded'],
    [
      '{% for i in (1..9999) %}{% for j in (1..9999) %}{% for k in (1..9999) %}{% endfor %}{% endfor %}{% endfor %}',
      'limit exceeded',
    ],
  ])('is refused in the settings, and says why: %s', (body, reason) => {
    const problems = problemsOf(body);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain('expected a Liquid template: ');
    expect(problems[0]).toContain(reason);
  });
});
