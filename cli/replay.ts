/** `plasmawatch replay`: a capture through the whole pipeline, as an agent would have seen it. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openCaptureFile } from '../agent/capture/file/open.ts';
import { createMembership } from '../agent/membership/from-rules.ts';
import { Replay } from '../agent/replay.ts';
import { systemClock } from '../common/clock.ts';
import { messageOf, PlasmawatchError } from '../common/errors.ts';
import type { EvidenceReport } from '../common/event.ts';
import { silentLogger } from '../common/silent-logger.ts';
import type { PipelineTotals } from '../agent/pipeline.ts';
import type { Command, ExitStatus, Terminal } from './command.ts';
import { dnsClient } from './dns.ts';
import { describeAnomaly, writeJson, writeLine, writeProblem } from './output.ts';
import { readRules } from './rules-file.ts';
import { resolveHost } from './system.ts';

/** Connections that are kept at a time; more than any recording of a node needs. */
const MAX_FLOWS = 1_000_000;

interface ReplayCommandOptions {
  readonly file: string[];
  readonly rules: string;
  readonly node: string;
  readonly evidence?: string | undefined;
  readonly json: boolean;
}

export const replayCommand: Command<ReplayCommandOptions> = {
  usage: 'replay <file..>',
  description: 'play captures through the pipeline: anomalies, then a summary',
  options: (yargs) =>
    yargs
      .positional('file', {
        type: 'string',
        array: true,
        demandOption: true,
        description: 'pcap or pcapng files, in order; - is standard input',
      })
      .option('rules', {
        type: 'string',
        demandOption: true,
        requiresArg: true,
        description: 'the allowlist: a file or a folder',
      })
      .option('node', {
        type: 'string',
        default: 'replay',
        requiresArg: true,
        description: 'name of the node in the reports',
      })
      .option('evidence', {
        type: 'string',
        requiresArg: true,
        description: 'folder for the first packets of each anomaly, as pcapng files',
      })
      .option('json', { type: 'boolean', default: false, description: 'one JSON object a line' }),
  run: runReplay,
};

async function runReplay(options: ReplayCommandOptions, terminal: Terminal): Promise<ExitStatus> {
  const ruleset = await readRules(options.rules, terminal);
  if (ruleset === undefined) return 2;
  const membership = createMembership(ruleset, {
    clock: systemClock,
    logger: silentLogger,
    fetch: globalThis.fetch,
    resolve: resolveHost,
    lookUpRecords: dnsClient(),
    findRaylets: () => Promise.resolve([]),
    random: Math.random,
  });
  await membership.start();
  const evidenceFaults: string[] = [];
  const replay = new Replay({
    node: options.node,
    policy: { ruleset, membership },
    maxFlows: MAX_FLOWS,
    onAnomaly: (anomaly) =>
      options.json ? writeJson(terminal, anomaly) : writeLine(terminal, describeAnomaly(anomaly)),
    onEvidence: (evidence) => {
      // Nothing may be thrown into the pipeline, and the captures are played to their end all the same.
      if (options.evidence === undefined || evidenceFaults.length > 0) return;
      const fault = writeEvidence(options.evidence, evidence);
      if (fault !== undefined) evidenceFaults.push(fault);
    },
  });
  try {
    const unreadable = await playAll(replay, options.file, terminal);
    const totals = replay.end();
    writeSummary(totals, options, terminal);
    for (const fault of evidenceFaults) writeProblem(terminal, `plasmawatch: ${fault}`);
    if (unreadable + evidenceFaults.length > 0) return 2;
    return totals.anomalies > 0 ? 1 : 0;
  } finally {
    await membership.stop();
  }
}

/** Writes evidence as `ID.pcapng`; returns why that is not possible. */
function writeEvidence(folder: string, { anomaly, pcapng }: EvidenceReport): string | undefined {
  try {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `${anomaly}.pcapng`), Buffer.from(pcapng, 'base64'));
    return undefined;
  } catch (error) {
    return `cannot write evidence to ${folder}: ${messageOf(error)}`;
  }
}

/** Plays the files in order; a bad one is told and does not stop the others. Returns how many were bad. */
async function playAll(replay: Replay, files: readonly string[], terminal: Terminal): Promise<number> {
  let unreadable = 0;
  for (const file of files) {
    try {
      await replay.play(openCaptureFile(file, terminal));
    } catch (error) {
      if (!(error instanceof PlasmawatchError)) throw error;
      writeProblem(terminal, `plasmawatch: ${messageOf(error)}`);
      unreadable++;
    }
  }
  return unreadable;
}

function writeSummary(
  totals: PipelineTotals & { anomalies: number },
  { file, json }: ReplayCommandOptions,
  terminal: Terminal,
): void {
  const { packets, bytes, flows, allowed, unexpected, anomalies, skipped } = totals;
  const summary = {
    type: 'summary',
    files: file.length,
    packets,
    bytes,
    flows,
    allowed,
    unexpected,
    anomalies,
    skipped,
  };
  if (json) {
    writeJson(terminal, summary);
    return;
  }
  const reasons = Object.entries(skipped).map(([reason, count]) => `${count} ${reason}`);
  writeLine(
    terminal,
    `${packets} packets, ${flows} TCP connections: ${allowed} allowed, ${unexpected} unexpected, ` +
      `${flows - allowed - unexpected} to other ports; ${anomalies} ${anomalies === 1 ? 'anomaly' : 'anomalies'}` +
      (reasons.length === 0 ? '' : `; skipped ${reasons.join(', ')}`),
  );
}
