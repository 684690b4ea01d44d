/** Names of time zones that mean something else than most people who write them do. */

const MINUTES_AN_HOUR = 60;
/** A winter's and a summer's day: a zone without summer time has the same offset on both. */
const JANUARY = Date.UTC(2027, 0, 15);
const JULY = Date.UTC(2027, 6, 15);

/** `EST`, `BST`: an abbreviation that several zones share. These few are UTC, or the name of one country. */
const ABBREVIATION = /^[a-z]{3,4}$/i;
const UNAMBIGUOUS = new Set(['UTC', 'GMT', 'UCT', 'ZULU', 'CUBA', 'EIRE', 'IRAN', 'PRC', 'ROC', 'ROK']);
/** `EST5EDT`: a rule of POSIX, with the abbreviations of winter and summer. */
const POSIX_RULE = /^[a-z]{3}\d[a-z]{3}$/i;
/** `Etc/GMT+5`: as in POSIX, what has to be added to get UTC. */
const ETC_OFFSET = /^Etc\/GMT([+-])(\d{1,2})$/i;
/** `GMT+5`, `UTC-03:30`, `+02:00`: no zone, and written with either sign for the same place. */
const BARE_OFFSET = /^(?:GMT|UTC)?([+-])0*(\d{1,2})(?::?(\d{2}))?$/i;
/** What `Etc/GMT` has, ahead of UTC and behind it. */
const MOST_HOURS = { '+': 14, '-': 12 } as const;
/** `EST5`, `<+03>-3`, `EST5EDT,M3.2.0,M11.1.0`, `:Europe/Berlin`: values of the variable TZ (POSIX, section 8.3). */
const POSIX_TEXT = /^(?::|(?:[a-z]{3,}|<[^>]+>)[+-]?\d)/i;

/** What is doubtful about a zone that exists, in one line; undefined for the others. */
export function zoneDoubt(zone: string): string | undefined {
  const offset = ETC_OFFSET.exec(zone);
  if (offset !== null && Number(offset[2]) !== 0) {
    const [, sign, hours = ''] = offset;
    const side = sign === '+' ? 'behind' : 'ahead of';
    const other = `Etc/GMT${sign === '+' ? '-' : '+'}${hours}`;
    return `\`${zone}\` is ${hours} h ${side} UTC, its sign is that of POSIX; \`${other}\` is the other side`;
  }
  const isAbbreviation = ABBREVIATION.test(zone) && !UNAMBIGUOUS.has(zone.toUpperCase());
  if (!isAbbreviation && !POSIX_RULE.test(zone)) return undefined;
  const winter = offsetText(zone, JANUARY);
  const summer = offsetText(zone, JULY);
  const meaning =
    winter === summer ? `${winter} all year, without summer time` : `${winter}, in July ${summer}`;
  return `\`${zone}\` means ${meaning}; write a place such as \`America/New_York\``;
}

/** What to write in place of an offset or of a rule of POSIX, which are no zones; undefined for other texts. */
export function zoneInPlaceOf(text: string): string | undefined {
  const offset = BARE_OFFSET.exec(text);
  if (offset === null) return POSIX_TEXT.test(text) ? 'write a place such as `America/New_York`' : undefined;
  const [, sign, hours = '', minutes = '00'] = offset;
  const isZone = minutes === '00' && Number(hours) <= MOST_HOURS[sign === '+' ? '+' : '-'];
  if (!isZone) return 'write a place such as `Asia/Kolkata`';
  const zone = `Etc/GMT${sign === '+' ? '-' : '+'}${hours}`;
  const side = sign === '+' ? 'ahead of' : 'behind';
  return `\`${zone}\` is ${hours} h ${side} UTC (its sign is that of POSIX)`;
}

/** `UTC-05:00` */
function offsetText(timeZone: string, timeMs: number): string {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone,
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    hourCycle: 'h23',
  });
  const parts = new Map(format.formatToParts(timeMs).map(({ type, value }) => [type, Number(value)]));
  const at = (type: Intl.DateTimeFormatPartTypes): number => parts.get(type) ?? 0;
  const wallMs = Date.UTC(at('year'), at('month') - 1, at('day'), at('hour'), at('minute'));
  const minutes = Math.round((wallMs - timeMs) / 60_000);
  const size = Math.abs(minutes);
  return `UTC${minutes < 0 ? '-' : '+'}${twoDigits(size / MINUTES_AN_HOUR)}:${twoDigits(size % MINUTES_AN_HOUR)}`;
}

function twoDigits(value: number): string {
  return String(Math.trunc(value)).padStart(2, '0');
}
