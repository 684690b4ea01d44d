/** The recording that `plasmawatch up --demo` plays: a stranger calls the object managers of a real Ray cluster. */
import { packagePath } from '../common/package.ts';

export const DEMO_RECORDING = packagePath('pcaps/intruder-grpc.w1.pcap');
/** Rules that allow the recording's three nodes, and nobody else. */
export const DEMO_RULES = packagePath('pcaps/intruder-grpc.rules.yaml');
