import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../common/clock.ts';
import {
  createSlackNotifier,
  escapeText,
  renderSlackDigest,
  renderSlackMessage,
} from '../../../collector/notify/slack.ts';
import { sampleIncident, sampleNotification } from '../../support/collector-parts.ts';
import { HttpReceiver } from '../../support/http-receiver.ts';

describe('the message', () => {
  it('says what happened, to whom, and how much', () => {
    const { text, blocks } = renderSlackMessage(sampleNotification());
    expect(text).toBe('New: Unexpected peer 10.77.9.66 talks to the object manager on w1 (critical)');
    expect(blocks).toEqual([
      {
        type: 'header',
        text: {
          type: 'plain_text',
          text: 'New: Unexpected peer 10.77.9.66 talks to the object manager on w1',
          emoji: false,
        },
      },
      {
        type: 'section',
        text: {
          type: 'mrkdwn',
          verbatim: true,
          text: [
            '10.77.9.66 is no member and no rule allows it',
            '*Severity*: critical',
            '*Peer*: 10.77.9.66',
            '*Service*: object-manager',
            '*Node*: w1',
            '*Connections*: 3 (4.1 KiB)',
          ].join('\n'),
        },
      },
      {
        type: 'context',
        elements: [
          {
            type: 'mrkdwn',
            verbatim: true,
            text: 'INC-1 · unexpected-peer · first 2026-11-23T09:42:10.208000000Z · last 2026-11-23T09:42:12.260000000Z',
          },
        ],
      },
    ]);
  });

  it("stays within Slack's limits, whatever the incident holds", () => {
    const long = '<&>'.repeat(2000);
    const nodes = Array.from({ length: 50 }, (_, index) => `${long}${index}`);
    const incident = sampleIncident({ title: long, message: long, service: long, nodes, nodeCount: 5000 });
    const { text, blocks } = renderSlackMessage(sampleNotification({ incident }));
    const [header, section, context] = blocks;
    expect(text.length).toBeLessThanOrEqual(3000);
    expect(header?.type === 'header' && header.text.text.length).toBeLessThanOrEqual(150);
    expect(section?.type === 'section' && section.text?.text.length).toBeLessThanOrEqual(3000);
    expect(JSON.stringify(context).length).toBeLessThan(2200);
    expect(JSON.stringify(blocks)).not.toMatch(/[<>]|&(?!amp;|lt;|gt;)/);
  });

  it('makes no mention of anybody', () => {
    const incident = sampleIncident({ message: '<!channel> <@U123> & co' });
    expect(JSON.stringify(renderSlackMessage(sampleNotification({ incident })))).toContain(
      '&lt;!channel&gt; &lt;@U123&gt; &amp; co',
    );
  });
});

describe('the digest of many messages', () => {
  const about = (id: string, type: 'opened' | 'escalated' | 'resolved', changes = {}) =>
    sampleNotification({
      id: `${id}-${type}`,
      type,
      incident: sampleIncident({ id, title: `about ${id}`, ...changes }),
    });

  it('has a line for each incident, in order, with all that happened to it and its latest state', () => {
    const { text, blocks } = renderSlackDigest([
      about('INC-1', 'opened', { severity: 'warning' }),
      about('INC-2', 'opened'),
      about('INC-1', 'escalated', { count: 9 }),
      about('INC-2', 'resolved'),
      about('INC-3', 'resolved'),
    ]);
    expect(text).toBe('5 messages about 3 incidents: 2 new, 1 worse, 2 resolved');
    expect(blocks.map((block) => (block.type === 'context' ? '' : block.text?.text))).toEqual([
      '5 messages about 3 incidents',
      '2 new, 1 worse, 2 resolved',
      [
        '• *New → Worse*: INC-1 about INC-1 (critical, 9)',
        '• *New → Resolved*: INC-2 about INC-2 (critical, 3)',
        '• *Resolved*: INC-3 about INC-3 (critical, 3)',
      ].join('\n'),
    ]);
  });

  it("stays within Slack's limits, whatever the incidents hold", () => {
    const long = '<!channel>&'.repeat(200);
    const { text, blocks } = renderSlackDigest(
      Array.from({ length: 20 }, (_, index) => about(`INC-${index}`, 'opened', { title: long })),
    );
    expect(text.length).toBeLessThanOrEqual(3000);
    expect(blocks.length).toBeLessThanOrEqual(50);
    for (const block of blocks) expect(JSON.stringify(block).length).toBeLessThan(3200);
    // Slack refuses blocks of more than about 13,200 characters together (slackapi/bolt-js#2509).
    expect(JSON.stringify(blocks).length).toBeLessThan(13_000);
    expect(JSON.stringify(blocks)).not.toMatch(/[<>]|&(?!amp;|lt;|gt;)/);
    expect(JSON.stringify(blocks)).toContain('INC-19');
  });
});

describe('the message in words of a template', () => {
  it('is cut to the limits without half an escape', () => {
    const write = () => ({ title: `${'t'.repeat(147)}&amp;`, body: `${'b'.repeat(2997)}&amp;` });
    const { blocks } = renderSlackMessage(sampleNotification(), write);
    expect(blocks.map((block) => (block.type === 'context' ? '' : block.text?.text))).toEqual([
      `${'t'.repeat(147)}…`,
      `${'b'.repeat(2997)}…`,
      '',
    ]);
  });
});

describe('escapeText', () => {
  it.each([
    ['ab', 3, 'ab'],
    ['abc', 3, 'ab…'],
    ['a<b', 20, 'a&lt;b'],
    ['a<b', 5, 'a…'],
    ['ab😀', 4, 'ab…'],
  ])('of %j in %i characters is %j', (text, maxLength, expected) => {
    expect(escapeText(text, maxLength)).toBe(expected);
  });
});

describe('the answer', () => {
  let receiver: HttpReceiver;
  beforeEach(async () => {
    receiver = await HttpReceiver.open();
  });
  afterEach(() => receiver.close());

  it('must be "ok": a page of a proxy with status 200 is no delivery', async () => {
    receiver.answers = [{ status: 200, body: '<html>please log in</html>' }];
    const notifier = createSlackNotifier({ url: receiver.url('/hook'), fetch, clock: systemClock });
    expect(await notifier.send(sampleNotification(), new AbortController().signal)).toEqual({
      outcome: 'retry',
      reason: 'the answer was not "ok"',
    });
  });
});
