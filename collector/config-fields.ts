/** Fields that the collector's settings and those of its receivers share. */
import { z } from 'zod';

export const filePath = z.string().min(1).max(4096);
export const hostName = z
  .string()
  .regex(/^[A-Za-z0-9._:-]{1,253}$/, 'a host name or an IP address, without brackets and port');
/** A whole number within bounds. */
export const wholeNumber = (min: number, max: number) => z.number().int().min(min).max(max);
export const port = z.number().int().min(0).max(65_535);
