#!/usr/bin/env node
/** The program: what `plasmawatch` starts. */
import { startProgram } from './main.ts';

startProgram();
