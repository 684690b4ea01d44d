import { describe, expect, it } from 'vitest';
import { escapeMarkdown, renderTeamsDigest, renderTeamsMessage } from '../../../collector/notify/teams.ts';
import { sampleIncident, sampleNotification } from '../../support/collector-parts.ts';

const MAX_BYTES = 28 * 1024;

interface Card {
  readonly attachments: readonly [
    {
      readonly contentType: string;
      readonly content: { readonly type: string; readonly version: string; readonly body: readonly object[] };
    },
  ];
}

describe('a message of Teams', () => {
  it('is an Adaptive Card with title, text and facts', () => {
    const message = renderTeamsMessage(sampleNotification()) as Card;
    expect(message).toMatchObject({ type: 'message' });
    const [{ contentType, content }] = message.attachments;
    expect(contentType).toBe('application/vnd.microsoft.card.adaptive');
    expect(content).toMatchObject({ type: 'AdaptiveCard', version: '1.4' });
    expect(content.body).toMatchObject([
      {
        type: 'TextBlock',
        text: 'New: Unexpected peer 10.77.9.66 talks to the object manager on w1',
        color: 'Attention',
      },
      { type: 'TextBlock', text: '10.77.9.66 is no member and no rule allows it' },
      { type: 'FactSet', facts: expect.arrayContaining([{ title: 'Severity', value: 'critical' }]) },
      { type: 'TextBlock', text: expect.stringContaining('INC-1 · unexpected-peer') },
    ]);
  });

  it('is below 28 KB, whatever the incident and the template hold', () => {
    const long = '"\\<*😀'.repeat(3000);
    const nodes = Array.from({ length: 50 }, () => long);
    const incident = sampleIncident({ title: long, message: long, service: long, nodes, nodeCount: 5000 });
    for (const write of [undefined, () => ({ title: long, body: long })]) {
      const text = JSON.stringify(renderTeamsMessage(sampleNotification({ incident }), write));
      expect(Buffer.byteLength(text)).toBeLessThan(MAX_BYTES);
    }
  });

  it('tells many incidents at once, a line each', () => {
    const incidents = Array.from({ length: 20 }, (_, index) =>
      sampleIncident({ id: `INC-${index}`, title: `<at>${'😀'.repeat(1000)}</at>` }),
    );
    const message = renderTeamsDigest(incidents.map((incident) => sampleNotification({ incident })));
    const text = JSON.stringify(message);
    expect(Buffer.byteLength(text)).toBeLessThan(MAX_BYTES);
    expect(text).toContain('20 messages about 20 incidents');
    expect(text).toContain('- **New**: INC-19');
    expect(text).not.toContain('<at>');
  });

  it('mentions nobody and has no links but ours', () => {
    expect(escapeMarkdown('<at>all</at> [x](http://y) **b** `c` # d')).toBe(
      '\\<at\\>all\\</at\\> \\[x\\](http://y) \\*\\*b\\*\\* \\`c\\` \\# d',
    );
  });
});
