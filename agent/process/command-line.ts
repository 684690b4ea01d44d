/**
 * A command line for people to read: on one line, of a bounded length, and without what looks like a secret. Programs
 * are given passwords as arguments, and every user of a machine can read those; here they must not travel further.
 *
 * A stranger chooses the text: repetitions in the patterns are bounded, so that time grows with its length alone.
 */
import { onOneLine } from '../../common/plain-text.ts';

/** What stands for a secret. */
const CUT = '***';
/** Characters of the text; what is beyond is an ellipsis. */
const MAX_LENGTH = 512;

/** Arguments that are looked at: more than can be shown. */
const MAX_WORDS = MAX_LENGTH;

/** Names behind which a secret stands: `--db-password`, `AWS_SECRET_ACCESS_KEY`, `Authorization`. */
const SECRET_NAME = String.raw`(?:pass(?:word|wd|phrase|code)?|pwd|secret|token|credential|key|auth|bearer|cookie|session-?id|signature)`;
/** An option whose value is the next argument. */
const SECRET_OPTION = new RegExp(`^-{1,2}[\\w.-]{0,64}${SECRET_NAME}[\\w.-]{0,64}$`, 'i');
/** `name=value`, `name: value`, `"name": "value"` and `Bearer value`: the name with what separates it, then the value. */
const NAMED_SECRET = new RegExp(`(${SECRET_NAME}[\\w.-]{0,64}["']?\\s*[=:\\s]\\s*).+$`, 'is');
/** RFC 3986, section 3.2.1: user information before the host. */
const URL_CREDENTIALS = /\b([a-z][\w+.-]{0,32}:\/\/)[^\s/?#]*@/gi;
/** Options whose value is a user with a password behind a colon. */
const USER_OPTION = /^(?:-u|-U|--user|--proxy-user)$/;
/** Options of single programs whose value is a password. */
const PASSWORD_OPTIONS: readonly [program: RegExp, option: RegExp][] = [
  [/^sshpass$/, /^-p$/],
  [/^redis-cli$/, /^-a$/],
  [/^ldap\w+$/, /^-w$/],
  [/^mongo(?:sh|dump|restore)?$/, /^-p$/],
];
/** `mysql -pPASSWORD`, without a space. */
const MYSQL = /^(?:mysql|mariadb)/;

/** Words of which a part is long and has both letters and digits are keys, hashes or tokens. */
const WORD = /[\w+/=~-]{16,}/g;
const RANDOM_PART = /(?=[a-z]{0,64}\d)(?=\d{0,64}[a-z])[a-z\d]{16,}/i;

/** @param bytes /proc/PID/cmdline: the arguments, each with a NUL behind it */
export function describeCommandLine(bytes: string): string {
  // A program that retitles itself leaves empty arguments behind.
  const words = bytes.slice(0, lengthWithoutEnd(bytes)).split('\0', MAX_WORDS);
  const shown = words.map((word, index) => quote(cutSecrets(word, index, words), words.length));
  const text = shown.join(' ');
  if (text.length <= MAX_LENGTH) return text;
  // No character is cut in two.
  return `${text.slice(0, MAX_LENGTH - 1).replace(/[\uD800-\uDBFF]$/, '')}…`;
}

/** Without the NULs at the end. A pattern for them takes time that grows with the square of their number. */
function lengthWithoutEnd(bytes: string): number {
  let length = bytes.length;
  while (length > 0 && bytes.charCodeAt(length - 1) === 0) length--;
  return length;
}

function cutSecrets(word: string, index: number, words: readonly string[]): string {
  const program = (words[0] ?? '').replace(/^.*\//s, '');
  const before = words[index - 1] ?? '';
  const isOption = word.startsWith('-');
  if (index > 1 && !isOption && isPasswordOption(program, before)) return CUT;
  if (USER_OPTION.test(before) && word.includes(':')) return word.replace(/:.*$/s, `:${CUT}`);
  if (MYSQL.test(program) && /^-p./.test(word)) return `-p${CUT}`;
  return word
    .replaceAll(URL_CREDENTIALS, `$1${CUT}@`)
    .replace(NAMED_SECRET, `$1${CUT}`)
    .replaceAll(WORD, (part) => cutRandom(part));
}

function isPasswordOption(program: string, option: string): boolean {
  if (SECRET_OPTION.test(option)) return true;
  return PASSWORD_OPTIONS.some(([programs, options]) => programs.test(program) && options.test(option));
}

/** A path keeps the parts that are names; in anything else a slash may belong to base64. */
function cutRandom(word: string): string {
  const isPath = word.startsWith('/') || word.startsWith('~');
  if (!isPath) return RANDOM_PART.test(word) ? CUT : word;
  return word
    .split('/')
    .map((part) => (RANDOM_PART.test(part) ? CUT : part))
    .join('/');
}

/** Arguments with spaces are told from several; a lone one may be a title. */
function quote(word: string, count: number): string {
  const line = onOneLine(word);
  const isPlain = count === 1 || (line !== '' && !/[\s'"]/.test(line));
  return isPlain ? line : `'${line.replaceAll("'", String.raw`'\''`)}'`;
}
