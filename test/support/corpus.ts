/**
 * Captures by other projects with what tshark, tcpdump and capinfos say of them. They lie beside the project, not in
 * it: tests that use them are skipped where they are absent.
 */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The folder of shared material, beside the project. */
export const SHARED_FOLDER = fileURLToPath(new URL('../../../shared/', import.meta.url));
const CORPUS_FOLDER = `${SHARED_FOLDER}corpus/`;

/** where, a, a_port, b, b_port, packets_ab, bytes_ab, payload_ab, packets_ba, bytes_ba, payload_ba, first, last */
export type ConversationRow = readonly [
  string,
  string,
  number,
  string,
  number,
  number,
  number,
  number,
  number,
  number,
  number,
  string,
  string,
];

/** a, a_port, b, b_port, transport, service, duration, bytes of a's stream, bytes of b's, and more. */
type ZeekRow = readonly [
  string,
  number,
  string,
  number,
  string,
  string | null,
  string | null,
  number | null,
  number | null,
  ...unknown[],
];

export interface CorpusEntry {
  readonly path: string;
  readonly kinds: readonly string[];
  readonly expect: {
    readonly packets: number;
    readonly first: string | null;
    readonly last: string | null;
    readonly captured_bytes: number;
    readonly original_bytes: number;
    readonly fragments: number;
    readonly link_packets: Readonly<Record<string, number>>;
    readonly tcp: { readonly outer_4: number; readonly outer_6: number };
    readonly conversation_rows: readonly ConversationRow[];
    readonly tshark: { readonly exit: number };
    readonly disagree: readonly string[];
  };
  /** Rows of Zeek's connection log, for some of its own traces. */
  readonly zeek?: { readonly columns: readonly string[]; readonly rows: readonly ZeekRow[] };
}

/** The entries of the corpus; none where it is absent. */
export function corpusEntries(): readonly CorpusEntry[] {
  const manifest = `${CORPUS_FOLDER}manifest.json`;
  if (!existsSync(manifest)) return [];
  const { files } = JSON.parse(readFileSync(manifest, 'utf8')) as { files: CorpusEntry[] };
  return files;
}

/** Where a file of the corpus is. */
export function corpusPath({ path }: CorpusEntry): string {
  return CORPUS_FOLDER + path;
}
