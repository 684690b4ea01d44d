/** Numbers of flags: yargs makes NaN of what is none. */
import { PlasmawatchError } from '../common/errors.ts';

/** @throws PlasmawatchError PW_USAGE that names the flag */
export function wholeNumber(
  flag: string,
  value: number,
  { min, max = Number.MAX_SAFE_INTEGER }: { readonly min: number; readonly max?: number },
): number {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
  const range = max === Number.MAX_SAFE_INTEGER ? `from ${min} on` : `from ${min} to ${max}`;
  throw new PlasmawatchError('PW_USAGE', `${flag}: expected a whole number ${range}`);
}
